"""A small dataset with covers, captions, cold items and hostile texts, and runs of every kind on it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from tiny_dataset import ITEMS, walks, write_captions, write_dataset, write_tower

from models.config import parse_run_config
from models.train import train
from toolkit import schema
from toolkit.store import Table

COLD = (61, 62, 61)  # last items of the first users; no training sequence holds them
ALL_ITEMS = ITEMS + 3  # nobody has item 63
EVIL = "<script>window.evil = 1</script> & \"quoted\" 'title'"
EVIL_CAPTION = '<img src=x onerror="window.evil = 2"> ' + "a long caption of a red circle " * 5
EVIL_NAME = "text <b>&amp;"  # of a run's folder
RIGHT_TO_LEFT = "שלום pizza!"  # the exclamation mark stands on the left
BROKEN_COVER = 41
RUNS = {
    "id": ["--config", "id"],
    EVIL_NAME: ["--config", "text-only"],
    "both": ["--config", "raw-image"],
}


def write_reported_dataset(folder: Path) -> Path:
    """Items 1..40 have covers, 41 a broken one, the others none; odd items have captions."""
    rng = np.random.default_rng(3)
    histories = walks()
    for history, cold in zip(histories, COLD, strict=False):
        history[-1] = cold
    write_dataset(folder, histories, items=ALL_ITEMS)
    ids = [f"i{number}" for number in range(1, ALL_ITEMS + 1)]
    write_tower(folder, "title", ids, rng.normal(size=(ALL_ITEMS, 4, 16)), kept="0,2,4,6")
    write_tower(folder, "cover", ids, rng.normal(size=(ALL_ITEMS, 3, 24)))
    titles = [EVIL if number % 2 else f"title {number}" for number in range(1, ALL_ITEMS)] + [""]
    numbers = pa.array(range(1, ALL_ITEMS + 1), pa.int32())
    Table(folder / "items").replace(0, pa.table([ids, numbers, titles], schema=schema.ITEMS))
    covers = [_cover(id_, number) for number, id_ in enumerate(ids, start=1)]
    Table(folder / "covers").append(pa.Table.from_pylist(covers, schema=schema.COVERS))
    said = {id_: EVIL_CAPTION if number % 2 else None for number, id_ in enumerate(ids)}
    write_captions(folder, "said", said)
    return folder


def train_runs(data: Path, folder: Path) -> list[Path]:
    """One run of each kind, two epochs each."""
    short = ["--train.epochs", "2", "--train.log_every_steps", "1", "--side.embedding_dim", "16"]
    for name, words in RUNS.items():
        output = str(folder / name)
        train(parse_run_config([*words, *short, "--data", str(data), "--output", output]))
    return [folder / name for name in RUNS]


def long_name(run: int) -> str:
    """A name that differs from others only in its middle."""
    return f"sweep_learning-rate-{run}e-4_negatives-in-batch_gates-shared_seed-1"


def many_runs(facts: dict[str, Any], count: int) -> dict[str, Any]:
    """Facts of a report whose runs are repeated under long names, with titles and captions from right to left."""
    copied = json.loads(json.dumps(facts))
    (group,) = copied["groups"]
    size = len(copied["runs"])
    copied["runs"] = [copied["runs"][n % size] | {"name": long_name(n)} for n in range(count)]
    group["runs"] = list(range(count))
    group["tests"] = [None, *(group["tests"][1] for _ in range(count - 1))]
    for user in group["gallery"]["users"]:
        for key in ("ranks", "lists"):
            user[key] = {str(n): user[key][str(n % size)] for n in range(count)}
    for item in group["gallery"]["items"].values():
        item |= {"title": RIGHT_TO_LEFT, "captions": {"said": RIGHT_TO_LEFT}}
    return copied


def jpeg(colour: int, *, width: int = 300, height: int = 200) -> bytes:
    """A picture of one colour."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def _cover(item_id: str, number: int) -> dict[str, object]:
    image = jpeg(number) if number < BROKEN_COVER else b"no picture"
    there = number <= BROKEN_COVER
    status = "ok" if there else "missing"
    return {"item_id": item_id, "image": image if there else None, "status": status}
