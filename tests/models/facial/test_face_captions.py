"""Micro-videos of faces (`benchmarks/face_captions.py`) at toy size: what decides is in the clip alone, and captions of it help.

Captions of an imperfect recogniser stand for a trained one: four in five are right.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from benchmarks.face_captions import (
    agreement,
    describe,
    import_captions,
    methods,
    planted_texts,
    show,
    write_world,
)
from models.facial.captions import write_captions
from prep import EncodeConfig
from prep.synth.faces import selfies
from prep.synth.faces.selfies import EXPRESSIONS, draw_selfie_frames
from prep.synth.truth import oracle_scores
from toolkit import open_dataset

ITEMS, USERS = 40, 300
Place = tuple[Path, Path]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Place:
    work = tmp_path_factory.mktemp("world") / "seed-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfies, "_FRAMES", 3)
        dataset = write_world(work, items=ITEMS, users=USERS, seed=1)
    return work, dataset


def test_an_expression_moves_the_face_and_nothing_else():
    clips = {
        name: np.array(list(draw_selfie_frames(name, "red", np.random.default_rng(3)))).astype(int)
        for name in EXPRESSIONS
    }
    middle, first = len(clips["rest"]) // 2, 0
    for name, clip in clips.items():
        change = np.abs(clip - clips["rest"]).max(3)
        assert (change[middle] > 60).any() == (name != "rest")
        assert change[:, :, :20].max() == 0 and change[:, 115:].max() == 0  # beside and below it
        assert change[first].sum() <= change[middle].sum()


def test_users_choose_by_the_expression(world):
    work, dataset = world
    truth = json.loads((work / "truth.json").read_text())
    assert set(truth["strengths"]) == {"expression", "colour"}
    expression = {item["id"]: item["expression"] for item in truth["items"]}
    favourite = {user["id"]: user["expression"] for user in truth["users"]}
    data = open_dataset(dataset)
    ids = data.items.column("item_id").to_pylist()
    pairs = data.interactions.select(["user_id", "item"]).to_pylist()
    hits = [expression[ids[row["item"] - 1]] == favourite[row["user_id"]] for row in pairs]
    assert np.mean(hits) > 0.6  # chance is 1 / 5
    with pytest.raises(ValueError, match=r"unknown attributes \['shape'\]; choose from"):
        oracle_scores(work, attributes=["shape"])
    assert oracle_scores(work)[2].shape == (USERS, ITEMS)


def test_captions_of_a_dataset_come_back_and_beat_titles_but_shuffled_ones_do_not(
    world, trained_run, tiny_bert
):
    work, dataset = world
    captions = work / "captions.csv"
    counts = write_captions(dataset, trained_run, captions, source="frames", detector="none")
    assert counts == {"ok": ITEMS}
    rows = pa.csv.read_csv(captions, convert_options=pa.csv.ConvertOptions(column_types={"item_id": pa.string()})).to_pylist()  # fmt: skip
    planted = planted_texts(work / "truth.json")
    others = list(planted.values())[7:] + list(planted.values())[:7]
    for number, row in enumerate(rows):
        row["text"] = others[number] if number % 5 == 0 else planted[row["item_id"]]
    pa.csv.write_csv(pa.Table.from_pylist(rows), captions)
    assert 0.75 < agreement(captions, work / "truth.json", [1, 2, 4, 6, 10, 12, 17, 24]) < 1
    title = EncodeConfig(source="title", encoder=str(tiny_bert), pooling="mean", layers="all")
    import_captions(work, dataset, captions, 1, encoder=title)
    stored = open_dataset(dataset).captions("face_caption").to_pylist()
    assert {row["item_id"]: row["text"] for row in stored} == {
        r["item_id"]: r["text"] for r in rows
    }
    assert {row["model"] for row in stored} == {"vl-fau:run"}
    report = describe(methods(work, dataset, 1, 8), [0.8])
    tests = report["comparisons"]
    assert tests["face - title"]["low"] > 0 and tests["face - title"]["corrected"] < 0.05
    assert tests["shuffled - title"]["low"] <= 0
    assert tests["face - shuffled"]["low"] > 0
    assert "| face |" in show(report)
