"""The provenance of a tower's states, from a dataset to a `prep.yaml` that reproduces them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_dataset import ITEMS, walks, write_dataset, write_tower

from models.inputs.provenance import describe_towers, recipe
from models.inputs.reads import Reads
from prep.config import CaptionConfig, EncodeConfig, MediaConfig
from toolkit import Dataset, open_dataset
from toolkit.json_files import read_json, write_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """A dataset whose manifest tells of steps as prep's own does; no encoder or captioner is run."""
    folder = write_dataset(tmp_path / "data", walks(users=5), items=ITEMS)
    ids, states = [f"i{n}" for n in range(1, ITEMS + 1)], np.ones((ITEMS, 2, 4))
    made = {"kept": "0,2", "precision": "bfloat16", "quantize": "none", "dtype": "float16"}
    write_tower(folder, "title", ids, states, **made, encoder="owner/bert", revision=COMMIT)
    write_tower(folder, "clip", ids, states, **made, encoder="open_clip:/home/me/clip", source="frames")  # fmt: skip
    write_tower(folder, "said", ids, states, **made, encoder="/home/me/a:b/bert", source="concat:title+words")  # fmt: skip
    asked = {"layers": [1], "max_tokens": 9, "lowercase": False, "batch_size": 4}
    steps: dict[str, Any] = {
        f"encode:{name}": {"config": asked, "items": {"ok": 59, "missing": 1}}
        for name in ("title", "clip", "said")
    }
    words = {"source": "cover", "captioner": "openai", "model": "owner/vlm", "revision": COMMIT}
    steps["caption:words"] = {
        "config_hash": "0",
        "config": {**words, "prompt": "/home/me/ask.txt", "prompt_hash": "9", "cover_px": 64},
        "prompt": {"name": "/home/me/ask.txt", "version": 0, "text": "What is it?"},
    }
    steps["covers"] = {"config": {"cover_px": 64}}
    steps["frames"] = {"config": {"frame_count": 3, "frame_px": 32, "backend": "released"}}
    manifest = read_json(folder / "dataset.json")
    write_json(folder / "dataset.json", {**manifest, "steps": steps})
    return open_dataset(folder)


def test_towers_captions_and_pictures_are_told(data: Dataset) -> None:
    made = describe_towers(data, Reads(towers=["title", "said", "clip"]))
    assert made["encode"]["title"]["revision"] == COMMIT
    assert made["encode"]["title"]["items"] == {"ok": 59, "missing": 1}
    assert made["caption"]["words"]["prompt_text"] == "What is it?"
    assert made["media"] == {"cover_px": 64, "frame_count": 3, "frame_px": 32, "backend": "released"}  # fmt: skip
    assert describe_towers(data, Reads(towers=["title"]))["caption"] == {}
    assert describe_towers(data, Reads(towers=["title"]))["media"] == {}
    assert describe_towers(data, Reads(towers=[])) == {} and recipe({}) == {}


def test_a_folder_of_this_machine_is_named_by_its_last_part(data: Dataset) -> None:
    made = describe_towers(data, Reads(towers=["title", "said", "clip"]))
    assert [made["encode"][name]["encoder"] for name in ("title", "clip", "said")] == [
        "owner/bert", "open_clip:clip", "bert"
    ]  # fmt: skip
    assert made["caption"]["words"]["prompt"] == "ask.txt"
    assert "/home/me" not in str(made)


def test_the_recipe_is_preps_own_and_pins_what_the_hub_can_pin(data: Dataset) -> None:
    made = recipe(describe_towers(data, Reads(towers=["title", "said", "clip"])))
    title = EncodeConfig(**made["encode"]["title"])
    assert (title.encoder, title.revision, title.layers) == ("owner/bert", COMMIT, [1])
    assert (title.max_tokens, title.lowercase) == (9, False)
    assert (title.dtype, title.store) == ("bfloat16", "float16")  # what `auto` had come to
    assert (
        "revision" not in made["encode"]["said"]
    )  # a fingerprint of a folder is none of the hub's
    assert CaptionConfig(**made["caption"]["words"]).revision == COMMIT
    media = MediaConfig(**made["media"])
    assert (media.frames_from, media.cover_px, media.frame_count) == ("released", 64, 3)
