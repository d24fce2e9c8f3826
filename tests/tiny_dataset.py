"""A small dataset written directly into Arrow. Sequences follow item numbers, so they can be learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prep.steps import manifest
from toolkit import schema
from toolkit.json_files import write_json
from toolkit.store import Table

ITEMS = 60
USERS = 120


def write_dataset(
    folder: Path,
    histories: list[list[int]],
    *,
    items: int,
    towers: dict[str, np.ndarray] | None = None,
    ids: list[str] | None = None,
    times: list[list[int]] | None = None,
    titles: list[str] | None = None,
) -> Path:
    """A dataset folder: items i1..iN unless `ids` says otherwise, users u0.., and states (N, K, D) a tower.

    Interactions have no times unless `times` holds their milliseconds.
    """
    numbers = np.arange(1, items + 1, dtype=np.int32)
    ids = ids or [f"i{number}" for number in numbers]
    titles = titles or [f"title {number}" for number in numbers]
    Table(folder / "items").append(pa.table([ids, numbers, titles], schema=schema.ITEMS))
    rows = [
        (f"u{user}", user + 1, item, times[user][position] if times else None, position)
        for user, history in enumerate(histories)
        for position, item in enumerate(history)
    ]
    table = pa.table(list(zip(*rows, strict=True)), schema=schema.INTERACTIONS)
    Table(folder / "interactions").append(table)
    for name, states in (towers or {}).items():
        write_tower(folder, name, ids, states)
    write_json(folder / "dataset.json", {"schema_version": 1, "name": "tiny", "steps": {}})
    return folder


def write_covers(folder: Path, images: dict[str, bytes]) -> None:
    """Stores covers of a dataset folder: JPEG by item id."""
    absent = dict.fromkeys(schema.COVERS.names)
    rows = [
        {**absent, "item_id": name, "image": image, "status": "ok"}
        for name, image in images.items()
    ]
    Table(folder / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))


def write_tower(
    folder: Path,
    name: str,
    ids: list[str],
    states: np.ndarray,
    *,
    encoder: str = "random",
    **more: str,
) -> None:
    _, layers, width = states.shape
    about: dict[str, Any] = {
        "encoder": encoder,
        "revision": "0",
        "layers": layers,
        "width": width,
        "pooling": "cls",
        "source": name,
        "modality": "image" if name == "cover" else "text",
        **more,
    }
    expected = schema.states(layers, width).with_metadata({k: str(v) for k, v in about.items()})
    flat = pa.array(states.astype(np.float16).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, type=expected.field("states").type)
    numbers = pa.array(np.arange(1, len(ids) + 1, dtype=np.int32))
    table = pa.table([pa.array(ids), numbers, column], schema=expected)
    Table(folder / "states" / name, compression=None).append(table)


def walks(*, users: int = USERS, items: int = ITEMS, seed: int = 0) -> list[list[int]]:
    """Users step to the next item number at every turn, from a random start: predictable."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, items, size=users)
    lengths = rng.integers(5, 12, size=users)
    return [
        [int((s + i) % items) + 1 for i in range(n)] for s, n in zip(starts, lengths, strict=True)
    ]


def write_captions(
    folder: Path, name: str, texts: dict[str, str | None], *, model: str = "m"
) -> None:
    """Captions by item id, as a finished step writes them; those that are None are `missing`."""
    about = {"model": model, "revision": "0", "prompt_hash": "0"}
    rows = [
        {"item_id": id_, "text": text, "status": "ok" if text else "missing", **about}
        for id_, text in texts.items()
    ]
    Table(folder / "captions" / name).append(pa.Table.from_pylist(rows, schema=schema.CAPTIONS))
    manifest.record_step(folder, f"caption:{name}", about)
