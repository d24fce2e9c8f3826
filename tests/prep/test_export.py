"""Towers as NumPy files: row r belongs to the id on line r, and a re-import is lossless."""

import numpy as np
import pytest
from tiny_dataset import write_dataset

import prep
import toolkit
from prep import FeaturesConfig, PrepConfig, export_tower
from prep.cli import main
from prep.ingest import ingest
from toolkit import UserError
from toolkit.states import READ_AT_ONCE

STATES = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float16)


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data", [[1, 2, 3, 4, 5]], items=5, towers={"title": STATES})


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("last", STATES[:, 2]),
        ("0", STATES[:, 0]),
        ("1", STATES[:, 1]),
        ("mean", STATES.astype(np.float32).mean(axis=1)),
    ],
)
def test_a_row_an_item(dataset, tmp_path, layer, expected, capsys):
    out = tmp_path / "out" / "title.npy"
    assert main(["export", str(dataset), "title", str(out), "--layer", layer]) == 0
    found = np.load(out)
    assert (found.shape, found.dtype) == ((5, 4), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (tmp_path / "out" / "title.ids.txt").read_text() == "i1\ni2\ni3\ni4\ni5\n"
    assert f"wrote {out} and {out.with_suffix('.ids.txt')}" in capsys.readouterr().out


def test_more_items_than_are_read_at_once(tmp_path):
    count = READ_AT_ONCE + 7
    states = np.arange(count * 2, dtype=np.float16).reshape(count, 1, 2)
    data = write_dataset(tmp_path / "data", [[1]], items=count, towers={"title": states})
    export_tower(data, "title", tmp_path / "title.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "title.npy"), states[:, 0])


def test_what_is_exported_can_be_imported(dataset, tmp_path, write_microlens):
    """Into a dataset that numbers the same items in another order."""
    ids = export_tower(dataset, "title", tmp_path / "title.npy", layer="1")
    order = [4, 2, 5, 1, 3]
    titles = "".join(f"i{number},a title\n" for number in order)
    ingest(write_microlens(titles=titles, pairs_tsv="u\ti1 i2 i3 i4 i5\n"), tmp_path / "other")
    features = FeaturesConfig(str(tmp_path / "title.npy"), ids=str(ids))
    prep.encode(tmp_path / "other", PrepConfig(features={"title": features}))
    other = toolkit.open_dataset(tmp_path / "other")
    assert other.item_ids.ids == [f"i{number}" for number in order]
    expected = STATES[[number - 1 for number in order], 1]
    np.testing.assert_array_equal(other.states("title")[1:, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cover", "x.npy"], r"no hidden states for tower 'cover' \(stored: \['title'\]\)"),
        (["title", "x.bin"], r"x\.bin: the file name must end with \.npy"),
        (["title", "x.npy", "--layer", "3"], r"--layer 3: tower 'title' has 3 kept states.*0 to 2"),
        (["title", "x.npy", "--layer", "first"], r"--layer first: .* use last, mean, or an index"),
    ],
)
def test_mistakes(dataset, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(["export", str(dataset), *words])
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("id_", ["a\nb", " a", "a\u2028b"])
def test_ids_that_do_not_fit_on_a_line(tmp_path, monkeypatch, dataset, id_):
    data = toolkit.open_dataset(dataset)
    data.item_ids.ids = [id_]
    monkeypatch.setattr("prep.export.open_dataset", lambda path: data)
    with pytest.raises(UserError, match="has a line break or surrounding spaces"):
        export_tower(dataset, "title", tmp_path / "x.npy")
