"""Runs over video networks of torchvision and pytorchvideo: frozen, with their top stages trained, saved and exported."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tiny_dataset import ITEMS, walks, write_dataset
from tiny_video_networks import FRAMES, THIN, jpeg_clip, make_thin, published, write_weights

import models
from models.adaptation import adapt, check_gradients
from models.cli import main
from models.config import parse_run_config
from models.items.encoders import load_to_train
from models.train import train
from prep.cli import main as prep
from toolkit import UserError, open_dataset, schema
from toolkit.backbones import EncoderSpec, FrozenEncoder, load_encoder
from toolkit.json_files import read_json
from toolkit.store import Table

FAST = ["--item=encoders", "--towers=[frames]", "--encoders.frames.pooling=mean", "--train.epochs=1",
        "--train.trackers=[]", "--train.batch_size=32", "--side.embedding_dim=16", "--sequence.max_len=5"]  # fmt: skip
SLOW, MVIT = "pytorchvideo:slow_r50", "pytorchvideo:mvit_base_16x4"


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_thin(patch)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of five frames."""
    folder = write_dataset(tmp_path_factory.mktemp("clips") / "data", walks(users=20), items=ITEMS)
    absent = dict.fromkeys(schema.FRAMES.names)
    rows = [
        {**absent, "item_id": f"i{n}", "status": "ok", "frames": jpeg_clip(n, FRAMES)}
        for n in range(1, ITEMS + 1)
    ]
    Table(folder / "frames").append(pa.Table.from_pylist(rows, schema=schema.FRAMES))
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_weights(name, folder) for name in THIN}


def words(data: Path, output: Path, encoder: str, *more: str) -> list[str]:
    return [*FAST, f"--data={data}", f"--output={output}", f"--encoders.frames.encoder={encoder}", *more]  # fmt: skip


@pytest.fixture(scope="module")
def run(data: Path, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("videos") / "run"
    more = ("--adapt=top-1", "--train.rates.image_encoder=0.01")
    train(parse_run_config(words(data, output, files[SLOW], *more)))
    return output


def parameters(encoder: Any) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in encoder.model.named_parameters()}


# The parameters that train, by the beginning of their names.
TOP_1 = {
    "torchvision:r3d_18": ("layer4.",),
    "torchvision:s3d": ("features.14.", "features.15."),
    "torchvision:swin3d_t": ("features.5.", "features.6.", "norm."),
    "torchvision:mvit_v2_s": ("blocks.1.", "norm."),
    "pytorchvideo:slow_r50": ("blocks.4.",),
    "pytorchvideo:c2d_r50": ("blocks.5.",),
    "pytorchvideo:csn_r101": ("blocks.4.",),
    "pytorchvideo:r2plus1d_r50": ("blocks.4.",),
    "pytorchvideo:slowfast_r50": ("blocks.4.",),
    "pytorchvideo:x3d_xs": ("blocks.5.pool.",),
    "pytorchvideo:mvit_base_16x4": ("blocks.1.", "norm_embed."),
}


@pytest.mark.parametrize("name", THIN)
def test_a_step_changes_the_top_layer_alone(name: str, files: dict[str, str]) -> None:
    spec = EncoderSpec(files[name], source="frames", pooling="mean", layers="group-1")
    encoder = load_to_train(spec)
    before, statistics = parameters(encoder), dict(encoder.model.named_buffers())
    kept = {key: buffer.clone() for key, buffer in statistics.items()}
    adapt(encoder, "top-1", prefix="image")
    optimizer = torch.optim.AdamW([x for x in encoder.parameters() if x.requires_grad], lr=1e-3)
    encoder.train()
    state = encoder(encoder.prepare([jpeg_clip(0, encoder.frames or 0), jpeg_clip(1, 5)]))[:, -1]
    (state * torch.linspace(-1, 1, state.shape[1])).sum().backward()
    check_gradients(encoder)
    optimizer.step()
    after = parameters(encoder)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.startswith(TOP_1[name])}
    assert all(torch.equal(buffer, kept[key]) for key, buffer in statistics.items())  # BatchNorm


def test_a_run_trains_its_top_stage_and_is_loaded(
    run: Path, data: Path, files: dict[str, str]
) -> None:
    found = models.load(run)
    encoder: Any = found.model.item_encoder.encoders["frames"]
    own = published(SLOW).state_dict()
    for key, tensor in encoder.model.state_dict().items():
        trained = key.startswith("blocks.4.") and key.endswith(("weight", "bias"))
        assert torch.equal(tensor, own[key]) != trained, key
    config = read_json(run / "model" / "config.json")["item_encoder"]
    assert config["encoders"]["frames"]["encoder"] == f"{SLOW}@slow_r50.pyth"  # no path
    assert config["revisions"]["frames"].startswith("sha256:")
    again = models.from_pretrained(run / "model", encoders={"frames": files[SLOW]})
    assert all(map(torch.equal, again.state_dict().values(), found.model.state_dict().values()))
    assert found.recommend([["i1", "i2"]], k=3).num_rows == 3


def test_another_file_of_weights_is_refused(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "slow_r50.pyth"
    torch.save({"model_state": published(SLOW, seed=1).state_dict()}, file)
    with pytest.raises(UserError, match=r"is at revision sha256.*restore that encoder"):
        models.load(run, encoders={"frames": f"{SLOW}@{file}"})


def test_the_trained_network_is_exported_under_its_published_names_and_feeds_prep(
    run: Path, data: Path, tmp_path: Path
) -> None:
    assert main(["export", str(run), "--merged", str(tmp_path / "merged")]) == 0
    name = f"{SLOW}@{tmp_path / 'merged' / 'model.safetensors'}"
    assert "library_name: pytorchvideo" in (tmp_path / "merged" / "README.md").read_text()
    trained: Any = models.load(run).model.item_encoder
    ours, theirs = (
        load_encoder(EncoderSpec(name, source="frames", pooling="mean", layers="group-1")),
        trained.encoders["frames"],
    )
    names = published(SLOW).state_dict().keys()
    assert set(ours.model.state_dict()) <= set(names)
    clips = open_dataset(data).source_reader("frames").read([1, 2, 3]).to_pylist()
    with torch.no_grad():
        expected = theirs(theirs.prepare(clips))
    torch.testing.assert_close(FrozenEncoder(ours).encode(clips), expected, rtol=1e-5, atol=1e-6)
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    assert prep(["encode", str(copy), "--encode.stages.encoder", name, "--encode.stages.source", "frames",
                 "--encode.stages.pooling", "mean"]) == 0  # fmt: skip
    stored = open_dataset(copy)
    assert stored.tower("stages").layers == 5 and stored.tower("stages").width == 128
    torch.testing.assert_close(
        stored.state_table("stages").gather(torch.tensor([1, 2, 3]))[:, -1].float(), expected[:, -1], rtol=1e-3, atol=1e-3
    )  # fmt: skip
    for kind in (
        "side-network",
        "pooled",
    ):  # frozen, over the stored states of stages of different widths
        config = ["--towers=[stages]", f"--item={kind}", *FAST[3:], f"--data={copy}", f"--output={tmp_path / kind}"]  # fmt: skip
        train(parse_run_config(config))
        assert models.load(tmp_path / kind).recommend([["i1", "i2"]], k=3).num_rows == 3


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (SLOW, ["--adapt=lora"], r"lora needs query layers.* \(Net\) has none .* take one of frozen, full, top-K, bitfit$"),
        (SLOW, ["--adapt=layernorm"], "layernorm needs layer norms, and encoder"),
        (SLOW, ["--adapt=top-5"], "top-5: the kept states depend on 4 layers .* top-1 to top-4"),
        (SLOW, ["--encoders.frames.frame_count=6"], "reads clips of 6 frames, and the dataset stores 5 of each clip; store more"),
        (SLOW, ["--encoders.frames.source=title"], "reads clips, and this tower's source is title"),
        (SLOW, ["--train.activation_checkpointing=true"], r"\(Net\) cannot; leave it out"),
        (MVIT, ["--adapt=houlsby"], "houlsby needs transformer layers"),
        (MVIT, ["--encoders.frames.from_layer=stored"], "no token states of tower 'frames' are stored"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line_before_the_run(
    name: str, more: list[str], message: str, data: Path, files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        train(parse_run_config(words(data, tmp_path / "run", files[name], *more)))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_prep_refuses_too_few_frames_and_tokens(data: Path, files: dict[str, str]) -> None:
    begin = ["encode", str(data), "--encode.clips.encoder", files[SLOW], "--encode.clips.source", "frames",
             "--encode.clips.pooling", "mean"]  # fmt: skip
    for more, message in (
        (["--encode.clips.frame_count", "8"], "reads clips of 8 frames, and the dataset's media.frame_count is 5"),
        (["--encode.clips.tokens", "2"], "cannot run from a middle layer"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            prep([*begin, *more])
    assert not (data / "states").exists()
