"""A copy of a dataset with permuted items: the same log by everything but content."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import walks, write_dataset

import prep
from prep import MediaConfig, PrepConfig
from toolkit import UserError, open_dataset


def test_items_are_permuted_and_all_else_stays(tmp_path: Path) -> None:
    states = {"title": np.random.default_rng(0).normal(size=(60, 2, 4))}
    source = write_dataset(tmp_path / "data", walks(), items=60, towers=states)
    before = open_dataset(source)
    copy = open_dataset(prep.permute_items(source, tmp_path / "copy", seed=3))
    theirs, ours = before.interactions.to_pandas(), copy.interactions.to_pandas()
    assert theirs.drop(columns="item").equals(ours.drop(columns="item"))
    pairs = Counter(zip(theirs["item"], ours["item"], strict=True))
    of = dict(pairs)
    renamed = {a: b for a, b in of}
    assert len(renamed) == len(of) == len(set(renamed.values())) == 60  # one to one
    assert sum(a == b for a, b in renamed.items()) < 6
    assert copy.items.equals(before.items)
    assert copy.states("title").equal(before.states("title"))

    again = open_dataset(prep.permute_items(source, tmp_path / "again", seed=3))
    other = open_dataset(prep.permute_items(source, tmp_path / "other"))
    assert again.interactions.equals(copy.interactions)
    assert not other.interactions.equals(copy.interactions)
    with pytest.raises(UserError, match="copy: exists; choose another folder"):
        prep.permute_items(source, tmp_path / "copy")
    with pytest.raises(UserError, match="seed must be at least 0, got -1"):
        prep.permute_items(source, tmp_path / "new", seed=-1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "copy", "data", "other"]


def test_a_copy_passes_the_checks_and_is_not_the_dataset(synth_dump: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    shutil.copytree(synth_dump, dump, ignore=shutil.ignore_patterns("covers", "videos"))
    config = PrepConfig(media=MediaConfig(workers=1))
    prep.ingest(dump, tmp_path / "data", config)
    before = (tmp_path / "data" / "interactions" / "part-00000.arrow").read_bytes()
    copy = prep.permute_items(tmp_path / "data", tmp_path / "copy", seed=1)
    assert prep.check(copy) == prep.check(tmp_path / "data")
    assert open_dataset(copy).manifest["steps"]["ingest"]["config"]["items_permuted"] == 1
    assert (tmp_path / "data" / "interactions" / "part-00000.arrow").read_bytes() == before
    with pytest.raises(UserError, match="items_permuted"):
        prep.ingest(dump, copy, config)
