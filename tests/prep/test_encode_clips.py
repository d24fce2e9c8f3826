"""Towers of a video encoder: whole clips through the library's own model; too few frames are reported."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import (
    AutoModel,
    AutoVideoProcessor,
    ResNetConfig,
    ResNetModel,
    VideoMAEImageProcessor,
    ViTImageProcessor,
    VivitConfig,
    VivitModel,
)

import prep
import toolkit
from models.inputs.features import load_live
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.estimate import estimate
from prep.steps import manifest
from prep.steps.pipeline import errors_of
from toolkit import TowerSpec, UserError, schema
from toolkit.images import decode_jpeg
from toolkit.store import Table

HELD = {
    "a": 5,
    "b": 3,
    "c": None,
    "d": 4,
}  # frames of each clip; b's and d's were cut, c's cannot be had


def jpegs(seed: int, count: int) -> list[bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", frame)[1].tobytes() for frame in pixels]


@pytest.fixture(scope="module")
def tiny_vivit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random ViViT of 2 layers, 16 wide, that reads 4 frames."""
    folder = tmp_path_factory.mktemp("vivit")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = VivitConfig(
        **shape, intermediate_size=32, image_size=32, num_frames=4, tubelet_size=[2, 16, 16]
    )
    VivitModel(config).save_pretrained(folder)
    sizes = {"shortest_edge": 32}, {"height": 32, "width": 32}
    VideoMAEImageProcessor(size=sizes[0], crop_size=sizes[1]).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def dataset(write_microlens: Callable[..., Path], tmp_path: Path) -> Path:
    """Four items, whose clips were to have 5 frames."""
    folder = tmp_path / "out"
    titles = "item,title\na,first\nb,second\nc,third\nd,fourth\n"
    prep.ingest(write_microlens(titles=titles, pairs_tsv="u\ta b c d\n"), folder)
    rows = [
        {
            "item_id": id_,
            "frames": jpegs(seed, count) if count else None,
            "status": {None: "corrupt", 5: "ok"}.get(count, "truncated"),
        }
        for seed, (id_, count) in enumerate(HELD.items())
    ]
    Table(folder / "frames").append(pa.Table.from_pylist(rows, schema=schema.FRAMES))
    manifest.record_step(folder, "frames", {"frame_count": 5})
    return folder


def towers(**towers: EncodeConfig) -> PrepConfig:
    return PrepConfig(media=MediaConfig(workers=1), encode=towers)


def test_clips_have_the_library_s_own_states_or_a_reason(dataset: Path, tiny_vivit: str) -> None:
    prep.encode(dataset, towers(clip=EncodeConfig(tiny_vivit, source="frames", batch_size=4)))
    data = toolkit.open_dataset(dataset)
    model = AutoModel.from_pretrained(tiny_vivit).eval()
    processor = AutoVideoProcessor.from_pretrained(tiny_vivit)
    clips = data.source("frames").to_pylist()
    for item, places in {1: [0, 1, 3, 4], 4: [0, 1, 2, 3]}.items():
        frames = [decode_jpeg(clips[item - 1][place]) for place in places]
        pixels = processor(videos=[frames], do_sample_frames=False, return_tensors="pt")
        with torch.no_grad():
            states = model(**pixels, output_hidden_states=True).hidden_states
        expected = torch.stack([state[0, 0] for state in states])
        torch.testing.assert_close(
            data.states("clip")[item].float(), expected, rtol=1e-3, atol=1e-4
        )
    told = [
        (row["item_id"], row["error_class"], row["message"])
        for row in errors_of(dataset, "encode:clip").to_pylist()
    ]
    assert told == [
        ("b", "truncated", "the encoder reads 4 frames, 3 are stored (why: step frames)"),
        ("c", "missing", "no frames are stored (why: step frames)"),
    ]
    assert not data.states("clip")[2:4].any()
    assert [problem for problem in prep.check(dataset) if "clip" in problem] == []


def test_live_states_of_clips_are_the_stored_ones(dataset: Path, tiny_vivit: str) -> None:
    prep.encode(dataset, towers(clip=EncodeConfig(tiny_vivit, source="frames")))
    data = toolkit.open_dataset(dataset)
    live = load_live(data, ["clip"]).gather(torch.arange(1, 5))["clip"]
    torch.testing.assert_close(live, data.states("clip")[1:].float(), rtol=1e-3, atol=1e-4)


def test_resumed_states_are_the_same(
    dataset: Path, tiny_vivit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = towers(clip=EncodeConfig(tiny_vivit, source="frames", batch_size=1))
    prep.encode(dataset, config)
    whole = toolkit.open_dataset(dataset).states("clip").float()
    shard = Table(dataset / "states" / "clip", compression=None)
    shard.replace(0, shard.read().slice(0, 3))
    prep.encode(dataset, config)
    again = toolkit.open_dataset(dataset).states("clip").float()
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=1e-5)


def test_too_few_frames_are_said_before_anything_runs(
    dataset: Path, tiny_vivit: str, synth_dump: Path, tmp_path: Path
) -> None:
    config = towers(clip=EncodeConfig(tiny_vivit, source="frames"))
    message = r"'clip': .* reads clips of 4 frames, .*frame_count is 3; .* --media.frame_count 4"
    short = PrepConfig(media=MediaConfig(frame_count=3, workers=1), encode=config.encode)
    with pytest.raises(UserError, match=message):
        prep.build(synth_dump, tmp_path / "new", short)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=message):
        estimate(synth_dump, short)
    manifest.record_step(dataset, "frames", {"frame_count": 3})  # what it was made with counts
    with pytest.raises(UserError, match=message):
        prep.encode(dataset, config)
    assert not (dataset / "states").exists()


def test_a_video_encoder_of_covers_is_refused(
    synth_dump: Path, tiny_vivit: str, tmp_path: Path
) -> None:
    config = towers(cover=EncodeConfig(tiny_vivit, source="cover"))
    with pytest.raises(UserError, match=r"its source is cover; set --encode\.cover\.source frames"):
        prep.build(synth_dump, tmp_path / "new", config)


def test_stages_of_different_widths_are_stored_and_said(dataset: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "resnet"
    torch.manual_seed(0)
    shape = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1]}
    ResNetModel(ResNetConfig(**shape)).save_pretrained(encoder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(encoder)
    prep.encode(dataset, towers(frames=EncodeConfig(str(encoder), source="frames", pooling="mean")))
    data = toolkit.open_dataset(dataset)
    assert data.tower("frames") == TowerSpec("frames", 3, 16, "image", (4, 8, 16))
    states = data.states("frames")
    assert not states[:, 0, 4:].any() and not states[:, 1, 8:].any()
    assert states[1, 0, :4].any() and states[1, 1, :8].any() and states[1, 2, 8:].any()
