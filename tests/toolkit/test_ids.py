"""Item numbers 1..N in the given order, 0 for padding, and names that stay in their folder."""

import numpy as np
import pytest

from toolkit import UserError
from toolkit.ids import PADDING, IdMap, is_safe


def test_numbers_start_at_one_in_the_order_given():
    ids = IdMap(["b", "a", "10", "9"])
    assert [ids.number(id_) for id_ in ("b", "a", "10", "9")] == [1, 2, 3, 4]
    assert [ids.id(number) for number in range(1, 5)] == ["b", "a", "10", "9"]
    assert PADDING == 0
    assert (len(ids), "a" in ids, "c" in ids) == (4, True, False)


def test_several_at_once_keep_their_order_and_repeats():
    numbers = IdMap(["x", "y"]).numbers(["y", "x", "y"])
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [2, 1, 2]


def test_an_unknown_id_is_named_with_examples():
    with pytest.raises(
        UserError, match=r"user 'q' is not in this dataset \(2 users, e\.g\. \['x', 'y'\]\)"
    ):
        IdMap(["x", "y"]).numbers(["x", "q"], kind="user")


@pytest.mark.parametrize("number", [0, -1, 3])
def test_a_number_without_an_id(number):
    with pytest.raises(ValueError, match=f"number {number} is outside 1..2"):
        IdMap(["x", "y"]).id(number)


def test_an_id_comes_once():
    with pytest.raises(ValueError, match="id 'y' is repeated"):
        IdMap(["x", "y", "z", "y"])


@pytest.mark.parametrize("id_", ["1", "B005FU5HFI", "a b", "..hidden", "é", "-x", "a..b"])
def test_safe_ids(id_, tmp_path):
    assert is_safe(id_)
    assert (tmp_path / f"{id_}.jpg").resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("id_", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b"])
def test_unsafe_ids(id_):
    assert not is_safe(id_)
