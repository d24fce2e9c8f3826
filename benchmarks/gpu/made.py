"""Random inputs of the GPU benchmark: a dataset and encoders.

N items, S users, K kept states, D width.
"""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from toolkit import schema
from toolkit.backbones.resolve import revision_of
from toolkit.json_files import write_json
from toolkit.schema import SCHEMA_VERSION
from toolkit.store import Table

TOWERS = {"title": "text", "cover": "image"}
WORDS = ("red", "small", "cat", "piano", "how", "to", "cook", "train", "storm", "slow", "the", "of")
COVERS = 32  # number of different covers; decoding the same one again costs as much


@dataclass(frozen=True)
class Size:
    """Sizes of the random inputs.

    Args:
        users: S.
        items: N.
        layers: K.
        width: D of the random states.
        batch: users per step.
        epochs: number of timed epochs.
        live_users: users of the dataset for live states.
        live_items: items of that dataset.
        encoder: settings of BERT and ViT; by default BERT-base and ViT-base.
        pixels: side of a cover.
        asked: number of vectors or captions in parts that measure a rate.
        catalogue: number of items of a large catalogue.
    """

    users: int = 12_076
    items: int = 20_314
    layers: int = 7
    width: int = 768
    batch: int = 64
    epochs: int = 3
    live_users: int = 256
    live_items: int = 2_000
    encoder: tuple[tuple[str, int], ...] = ()
    pixels: int = 224
    asked: int = 256
    catalogue: int = 1_000_000


PAPER = Size()
TOY = Size(
    users=96,
    items=80,
    layers=3,
    width=16,
    batch=16,
    epochs=1,
    live_users=32,
    live_items=24,
    encoder=(
        ("hidden_size", 16),
        ("num_hidden_layers", 2),
        ("num_attention_heads", 2),
        ("intermediate_size", 32),
    ),
    pixels=32,
    asked=8,
    catalogue=500,
)


def write_step_data(work: Path, size: Size) -> dict[str, Any]:
    """The dataset of the paper's size: `work/data`, random histories and states."""
    shape = (size.items, size.layers, size.width)
    write_dataset(work / "data", size.users, size.items)
    states = {name: torch.randn(shape, generator=_rng(place)) for place, name in enumerate(TOWERS)}
    for name, drawn in states.items():
        _write_states(work / "data", name, drawn.half().numpy(), encoder="random")
    return {"users": size.users, "items": size.items, "states": [len(TOWERS), *shape[1:]]}


def live_data(work: Path, size: Size) -> Path:
    """The dataset of `write_live_data` in a folder that parts share, written once."""
    data = work / "live"
    if not (work / "live.done").exists():
        for begun in (data, work / "bert", work / "vit"):  # of a part that was stopped
            shutil.rmtree(begun, ignore_errors=True)
        write_live_data(work, size)
        (work / "live.done").touch()
    return data


def write_live_data(work: Path, size: Size) -> Path:
    """A dataset with titles and covers, and a random BERT and ViT for live states: `work/live`."""
    data = work / "live"
    settings = dict(size.encoder)
    encoders = {
        "title": random_bert(work / "bert", **settings),
        "cover": _random_vit(work / "vit", size.pixels, **settings),
    }
    ids = write_dataset(data, size.live_users, size.live_items, steps=list(TOWERS))
    images = [_cover(seed, size.pixels) for seed in range(COVERS)]
    rows = [
        {"item_id": name, "image": images[row % COVERS], "width_px": size.pixels, "height_px": size.pixels,
         "source_bytes": None, "source_sha256": None, "status": "ok"}
        for row, name in enumerate(ids)
    ]  # fmt: skip
    Table(data / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    layers = settings.get("num_hidden_layers", 12) + 1
    shape = (size.live_items, layers, settings.get("hidden_size", 768))
    for name, folder in encoders.items():
        drawn = torch.randn(shape, generator=_rng(0)).half().numpy()
        _write_states(
            data, name, drawn, encoder=str(folder), revision=revision_of(str(folder), None)
        )
    return data


def random_bert(folder: Path, **settings: int) -> Path:
    """Saves a BERT with random weights and a vocabulary of characters."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789#!?,."
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *characters, *("##" + c for c in characters)]
    folder.mkdir(parents=True)
    BertTokenizer(vocab={word: row for row, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(**settings)).save_pretrained(folder)
    return folder


def _random_vit(folder: Path, pixels: int, **settings: int) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = ViTConfig(image_size=pixels, **settings)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": pixels, "width": pixels}).save_pretrained(folder)
    return folder


def write_dataset(
    folder: Path, users: int, items: int, steps: list[str] | None = None
) -> list[str]:
    """Writes items and random histories with Scientific's lengths (6.8 on average, 5 to 13 kept); returns the item ids."""
    rng = np.random.default_rng(0)
    numbers = np.arange(1, items + 1, dtype=np.int32)
    ids = [f"i{number}" for number in numbers]
    titles = [" ".join(rng.choice(WORDS, 12)) for _ in ids]
    Table(folder / "items").append(pa.table([ids, numbers, titles], schema=schema.ITEMS))
    lengths = np.minimum(4 + rng.geometric(0.36, size=users), 13)
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = {
        "user_id": [f"u{number}" for number in user],
        "user": user,
        "item": rng.integers(1, items + 1, size=len(user), dtype=np.int32),
        "timestamp_ms": pa.nulls(len(user), pa.int64()),
        "position": (np.arange(len(user)) - starts).astype(np.int32),
    }
    Table(folder / "interactions").append(pa.table(table, schema=schema.INTERACTIONS))
    made = {
        "layers": "all",
        "revision": None,
        "max_tokens": 30,
        "lowercase": True,
        "batch_size": 128,
    }
    recorded = {f"encode:{name}": {"config": made} for name in steps or []}
    write_json(
        folder / "dataset.json",
        {"schema_version": SCHEMA_VERSION, "name": "random", "steps": recorded},
    )
    return ids


def _write_states(
    folder: Path, name: str, states: NDArray[np.float16], *, encoder: str, revision: str = "0"
) -> None:
    items, layers, width = states.shape
    about = {
        "encoder": encoder, "revision": revision, "layers": str(layers), "width": str(width), "pooling": "cls",
        "source": name, "modality": TOWERS[name], "precision": "float32",
    }  # fmt: skip
    expected = schema.states(layers, width).with_metadata(about)
    flat = pa.array(states.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, type=expected.field("states").type)
    numbers = np.arange(1, items + 1, dtype=np.int32)
    table = pa.table([[f"i{n}" for n in numbers], numbers, column], schema=expected)
    Table(folder / "states" / name, compression=None).append(table)


def _cover(seed: int, pixels: int) -> bytes:
    """A JPEG of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
