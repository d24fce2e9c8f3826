"""The synthetic log of MicroLens' shape: its curves, at a small size."""

import numpy as np
import pytest

from benchmarks.billion import refuse_too_large
from benchmarks.billion_log import LENGTHS, POPULARITY, Log, Sizes, curve

SIZES = Sizes.of(300_000)


@pytest.fixture(scope="module")
def table():
    return Log(SIZES, seed=0).rows(0, SIZES.interactions)


def test_users_and_items_are_in_proportion_to_microlens() -> None:
    assert Sizes.of(1_006_528_709) == (34_500_000, 1_140_000, 1_006_528_709)
    assert SIZES.interactions / SIZES.users == pytest.approx(29.2, rel=0.01)
    assert SIZES.interactions / SIZES.items == pytest.approx(883, rel=0.01)


def test_lengths_have_the_curve_of_microlens() -> None:
    """Users of the 50k release have 5 to 218 interactions, 6 in the median and 7.2 in the mean; 95% have at most 13."""
    lengths = np.sort(np.repeat(*curve(50_000, 359_708, **LENGTHS)))
    assert lengths.sum() == 359_708 and len(lengths) == 50_000
    assert lengths[0] == 5 and lengths[-1] > 80
    assert np.median(lengths) == 6
    assert np.quantile(lengths, 0.95) == pytest.approx(13, abs=1)


def test_each_user_and_each_item_has_its_number_of_interactions(table) -> None:
    users, items = (np.bincount(table[name].to_numpy())[1:] for name in ("user", "item"))
    for counts, size, shape in (
        (users, SIZES.users, LENGTHS),
        (items, SIZES.items, POPULARITY),
    ):
        expected = np.repeat(*curve(size, SIZES.interactions, **shape))
        assert counts.sum() == SIZES.interactions
        assert np.array_equal(np.sort(counts)[::-1], expected[expected > 0])
    popular = np.sort(items)[::-1]
    assert popular[: len(items) // 100].sum() / popular.sum() == pytest.approx(0.2, abs=0.05)


def test_rows_are_by_item_and_time_and_do_not_depend_on_the_piece(table) -> None:
    item, time = (table[name].to_numpy() for name in ("item", "timestamp"))
    assert (np.diff(item) >= 0).all()
    assert (np.diff(time)[np.diff(item) == 0] >= 0).all()
    again = Log(SIZES, seed=0)
    assert again.rows(1_000, 2_000).equals(table.slice(1_000, 1_000).combine_chunks())
    assert not Log(SIZES, seed=1).rows(0, 1_000).equals(table.slice(0, 1_000))


def test_a_log_that_does_not_fit_is_refused(tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"need about .* GiB of disk, and .* GiB free"):
        refuse_too_large(tmp_path / "folder", 10**15)
