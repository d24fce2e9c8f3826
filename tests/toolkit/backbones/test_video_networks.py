"""Video networks of torchvision and pytorchvideo: states are the library's own, weights are the published ones."""

import pickle
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_video_networks import (
    FRAMES,
    PX,
    TABLES,
    THIN,
    jpeg_clip,
    make_thin,
    published,
    without_pytorchvideo,
    write_weights,
)
from torch import Tensor

from toolkit import UserError
from toolkit.backbones import EncoderSpec, FrozenEncoder, frames_needed, load_encoder
from toolkit.backbones.encoder import Encoder, Preparer
from toolkit.backbones.resolve import portable, revision_of
from toolkit.backbones.zoo.loading import build_network
from toolkit.backbones.zoo.pytorchvideo_networks import slow_and_fast

REAL = {
    f"{library}:{name}": declare
    for library, table in TABLES.items()
    for name, declare in table.items()
}  # before they are made thin


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_thin(patch)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By encoder, its name with a file of weights."""
    folder = tmp_path_factory.mktemp("weights")
    suffixes = {"torchvision:r3d_18": ".pth", "torchvision:s3d": ".safetensors"}
    return {name: write_weights(name, folder, suffixes.get(name, ".pyth")) for name in THIN}


def load(encoder: str, **settings: Any) -> Encoder:
    return load_encoder(EncoderSpec(encoder, **{"source": "frames", "pooling": "mean", **settings}))


@lru_cache
def loaded(encoder: str) -> Encoder:
    """One that no test changes."""
    return load(encoder)


def pooled(state: Tensor) -> Tensor:
    """(B, D, T, H, W) -> (B, D)."""
    return state.double().mean(dim=(2, 3, 4)).float()


def states_by_hand(encoder: str, model: Any, pixels: Tensor) -> list[Tensor]:
    """The mean over time and space of the stem and of every stage, from the parts of the library's own network."""
    family = encoder.partition(":")[2].partition("_")[0]
    by_family = {
        "r3d": r3d_states,
        "s3d": s3d_states,
        "swin3d": swin_states,
        "mvit": mvit_states,
        "slowfast": slowfast_states,
        "x3d": x3d_states,
        "c2d": c2d_states,
    }
    return by_family.get(family, resnet_states)(model, pixels)


def r3d_states(model: Any, pixels: Tensor) -> list[Tensor]:
    stages = [model.stem, model.layer1, model.layer2, model.layer3, model.layer4]
    found = resnet_states(model, pixels, stages)
    torch.testing.assert_close(model.fc(found[-1]), model(pixels))  # features before the head
    return found


def s3d_states(model: Any, pixels: Tensor) -> list[Tensor]:
    found = resnet_states(model, pixels, list(model.features))
    return [found[number] for number in (1, 3, 6, 12, 15)]  # before a pool, but for the first


def swin_states(model: Any, pixels: Tensor) -> list[Tensor]:
    x = [model.patch_embed(pixels)]
    for part in model.features:
        x.append(part(x[-1]))
    return [x[count].mean(dim=(1, 2, 3)) for count in (0, 1, 3, 5, 7)]


def slowfast_states(model: Any, pixels: Tensor) -> list[Tensor]:
    paths, found = [pixels[:, :, [0, 4]], pixels], []
    for stage in model.blocks[:5]:
        paths = stage(paths)
        found.append(torch.cat([pooled(path) for path in paths], dim=1))
    return found


def resnet_states(model: Any, pixels: Tensor, stages: list[Any] | None = None) -> list[Tensor]:
    x, found = pixels, []
    for stage in stages or model.blocks[:-1]:
        x = stage(x)
        found.append(pooled(x))
    return found


def c2d_states(model: Any, pixels: Tensor) -> list[Tensor]:
    def pairs(x: Tensor) -> Tensor:  # of five frames; the fifth is alone
        return torch.stack([x[:, :, :2].amax(2), x[:, :, 2:4].amax(2), x[:, :, 4]], dim=2)

    stem, res2, _, *others, _ = model.blocks
    found = resnet_states(model, pixels, [stem, res2, pairs, *others])
    return [*found[:2], *found[3:]]


def x3d_states(model: Any, pixels: Tensor) -> list[Tensor]:
    stages, head = list(model.blocks[:5]), model.blocks[5].pool

    def projected(x: Tensor) -> Tensor:
        mean = head.pre_act(head.pre_norm(head.pre_conv(x))).mean(dim=(2, 3, 4), keepdim=True)
        return head.post_act(head.post_conv(mean))

    return resnet_states(model, pixels, [*stages, projected])


def mvit_states(model: Any, pixels: Tensor) -> list[Tensor]:
    if hasattr(model, "patch_embed"):  # pytorchvideo
        x = model.cls_positional_encoding(model.patch_embed(pixels))
        grid = model.cls_positional_encoding.patch_embed_shape
    else:
        x = model.pos_encoding(model.conv_proj(pixels).flatten(2).transpose(1, 2))
        grid = (model.pos_encoding.temporal_size, *model.pos_encoding.spatial_size)
    found = [x]
    for block in model.blocks:
        x, grid = block(x, grid)
        found.append(x)
    return [state.mean(dim=1) for state in found]


@pytest.mark.parametrize("name", THIN)
def test_states_equal_the_library_one_clip_at_a_time_and_together(
    name: str, files: dict[str, str]
) -> None:
    encoder = loaded(files[name])
    frames = encoder.frames or 0
    clips = [jpeg_clip(0, frames), jpeg_clip(1, frames + 2, 60, 40), jpeg_clip(2, frames)]
    together = encoder(encoder.prepare(clips)).detach()
    model = published(name)
    for row, clip in enumerate(clips):
        inputs = encoder.prepare([clip])
        pixels = inputs.tensors["pixel_values"]
        assert pixels.shape == (1, 3, frames, PX, PX)
        with torch.no_grad():
            states = states_by_hand(name, model, pixels)
        assert tuple(state.shape[1] for state in states) == encoder.widths
        assert len(states) == encoder.layers
        for index, state in enumerate(states):
            ours = together[row, index, : state.shape[1]]
            torch.testing.assert_close(ours, state[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(inputs)[0], together[row], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[2], rtol=1e-3)


@pytest.mark.parametrize("name", THIN)
def test_every_frame_counts(name: str, files: dict[str, str]) -> None:
    encoder = loaded(files[name])
    assert frames_needed(files[name]) == encoder.frames
    clip = jpeg_clip(0, encoder.frames or 0)
    state = encoder(encoder.prepare([clip]))[:, -1]
    for number, frame in enumerate(jpeg_clip(1, len(clip))):
        other = [*clip[:number], frame, *clip[number + 1 :]]
        change = (encoder(encoder.prepare([other]))[:, -1] - state).abs().max()
        assert change > 1e-4 * state.abs().max(), number


# Public counts of parameter tensors (golden README of MicroLens), and the first one that trains at its freeze index.
PUBLIC = {
    "torchvision:r3d_18": (62, 30, 2),
    "pytorchvideo:r2plus1d_r50": (209, 168, 1),
    "pytorchvideo:c2d_r50": (161, 129, 1),
    "pytorchvideo:i3d_r50": (161, 72, 2),
    "pytorchvideo:slow_r50": (161, 129, 1),
    "pytorchvideo:csn_r101": (314, 282, 1),
    "pytorchvideo:x3d_xs": (314, 226, 2),
    "pytorchvideo:x3d_s": (314, 226, 2),
    "pytorchvideo:x3d_m": (314, 226, 2),
    "pytorchvideo:x3d_l": (631, 455, 2),
    "pytorchvideo:slowfast_r50": (332, 270, 1),
    "pytorchvideo:slowfast_r101": (638, 576, 1),
    "pytorchvideo:mvit_base_16x4": (377, 326, 2),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_published_networks_have_their_parameters_and_the_top_layers_begin_at_the_freeze_index(
    name: str,
) -> None:
    count, index, top = PUBLIC[name]
    network = name.partition(":")[2]
    declared = REAL[name]()
    # MViT's builder reads values of a tensor.
    with torch.device("cpu" if network.startswith("mvit") else "meta"):
        model = build_network(declared, FRAMES, 224)
    names = [parameter for parameter, _ in model.named_parameters()]
    assert len(names) == count
    layers = [tuple(f"{path}." for path in paths) for paths in declared.layers[-top:]]
    inside = [name.startswith(layers[0]) for name in names]
    assert inside.index(True) == index
    for name in names[index:]:
        above = any(name.startswith(paths) for paths in layers)
        assert above or declared.is_head(name) or name.startswith("norm_embed."), name


def test_files_are_accounted_for_name_by_name(files: dict[str, str], tmp_path: Path) -> None:
    name = "pytorchvideo:slow_r50"
    whole = published(name).state_dict()
    want = loaded(files[name])

    def of(state: dict[str, Any], file: str = "weights.pt") -> Encoder:
        torch.save(state, tmp_path / file)
        return load(f"{name}@{tmp_path / file}")

    def without(part: str) -> dict[str, Tensor]:
        return {key: value for key, value in whole.items() if not re.search(part, key)}

    for state in (
        {"state_dict": whole},
        without(r"^blocks\.5\."),  # the head
        {
            **whole,
            "blocks.5.proj.weight": torch.zeros(3, 128),
            "blocks.5.proj.bias": torch.zeros(3),
        },
        without("num_batches_tracked"),  # as converted files have it
    ):
        ours = of(state).model.state_dict()
        assert all(torch.equal(ours[key], value) for key, value in want.model.state_dict().items())
        assert "blocks.5.proj.weight" not in ours
    for state, message in (
        (without("blocks.4.res_blocks.0.branch2.conv_b"), r"another network \(missing blocks\.4\.res_blocks\.0"),
        ({**whole, "blocks.9.weight": torch.zeros(1)}, r"unknown blocks\.9\.weight\); expected those of SLOW_8x8_R50"),
        ({f"module.{key}": value for key, value in whole.items()}, "missing .*, …; unknown module.blocks.0"),
        ({**whole, "blocks.0.conv.weight": torch.zeros(4, 3, 1, 7, 7)}, r"conv\.weight is \(4, 3, 1, 7, 7\), and"),
        ({"cfg": "nothing"}, "holds no weights by name; expected a state dict"),
        ({"model_state": {"hook": pytest.raises}}, "holds more than tensors, and code in a file is not run"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            of(state)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.safetensors cannot be read"):
        load(f"{name}@{tmp_path / 'broken.safetensors'}")


def test_position_tables_are_interpolated_aloud(files: dict[str, str]) -> None:
    """Linear interpolation at the middles of equal parts, by numpy."""
    name = "pytorchvideo:mvit_base_16x4"
    key = "cls_positional_encoding.pos_embed_temporal"
    table = published(name).state_dict()[key][0]  # of five frames: three steps
    with pytest.warns(
        UserWarning, match=r"pos_embed_temporal is interpolated from 3 to 8 positions"
    ):
        longer = load(files[name], frame_count=16)
    assert longer.frames == 16 and longer.states_settings()["frame_count"] == 16
    at = (np.arange(8) + 0.5) * 3 / 8 - 0.5
    expected = np.stack([np.interp(at, np.arange(3), column) for column in table.T.numpy()], axis=1)
    ours = longer.model.state_dict()[key][0]
    torch.testing.assert_close(ours, torch.from_numpy(expected).float())
    with pytest.warns(UserWarning, match=r"pos_embed_spatial is interpolated from 64 to 256 posi"):
        larger = load(files[name], crop_px=64)
    grid = larger.model.state_dict()["cls_positional_encoding.pos_embed_spatial"].view(16, 16, 8)
    small = published(name).state_dict()["cls_positional_encoding.pos_embed_spatial"].view(8, 8, 8)
    torch.testing.assert_close(grid.mean(dim=(0, 1)), small.mean(dim=(0, 1)))
    torch.testing.assert_close(grid[1, 1], (9 * small[0, 0] + 3 * small[0, 1] + 3 * small[1, 0] + small[1, 1]) / 16)  # fmt: skip


def test_the_slow_path_reads_frames_at_equal_distances() -> None:
    def frames(count: int) -> list[int]:
        slow, fast = slow_and_fast(torch.arange(float(count)).view(1, 1, count, 1, 1))
        assert fast.flatten().tolist() == list(range(count))
        return [int(x) for x in slow.flatten()]

    assert frames(5) == [0, 4]  # MicroLens: first and last
    assert frames(32) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert frames(4) == [0]


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("pytorchvideo:slow_r50", (0.45,) * 3, (0.225,) * 3),
        ("torchvision:r3d_18", (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
        ("torchvision:swin3d_t", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_pixels_are_normalised_once(
    name: str, mean: tuple[float, ...], deviation: tuple[float, ...], files: dict[str, str]
) -> None:
    encoder = loaded(files[name])
    read = [[np.full((40, 60, 3), 128, np.uint8)] * FRAMES]
    pixels = encoder.prepare.preparation.collate(read)["pixel_values"]
    expected = (128 / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(pixels, expected.view(1, 3, 1, 1, 1).expand(1, 3, FRAMES, PX, PX))
    assert encoder.processor == "VideoClassification (torchvision)"


def test_names_and_provenance(files: dict[str, str], tmp_path: Path) -> None:
    name = files["torchvision:r3d_18"]
    encoder = loaded(name)
    assert encoder.revision == revision_of(name, None)
    assert encoder.revision.startswith("sha256:") and len(encoder.revision) == 39
    assert portable(name) == "torchvision:r3d_18@r3d_18.pth"
    settings = encoder.states_settings()
    assert (settings["frame_count"], settings["crop_px"]) == (FRAMES, PX)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(Path(name.partition("@")[2]).read_bytes())
    assert revision_of(f"torchvision:r3d_18@{copy}", None) == encoder.revision
    copy.write_bytes(copy.read_bytes() + b" ")
    assert revision_of(f"torchvision:r3d_18@{copy}", None) != encoder.revision
    prepare = pickle.loads(pickle.dumps(encoder.prepare))
    assert isinstance(prepare, Preparer) and prepare.frames == FRAMES


def test_random_weights_are_those_of_seed_0_and_leave_the_generator_alone() -> None:
    name = "pytorchvideo:slow_r50@random"
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = load(name)
    assert torch.equal(torch.rand(3), expected)
    other = load(name)
    assert all(map(torch.equal, one.model.state_dict().values(), other.model.state_dict().values()))
    assert one.revision.startswith("random weights of torch 2")


def test_a_frozen_one_encodes_clips(files: dict[str, str]) -> None:
    """What prep stores: many clips, a few frames at a time."""
    frozen = FrozenEncoder(load(files["pytorchvideo:slowfast_r50"]), batch_size=2 * FRAMES)
    clips = [jpeg_clip(seed, FRAMES) for seed in range(3)]
    states = frozen.encode(clips)
    assert states.shape == (3, 5, frozen.encoder.width)
    assert not states[:, 0, frozen.encoder.widths[0] :].any()  # narrower states end in zeros
    torch.testing.assert_close(states[2:], frozen.encode(clips[2:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "settings", "message"),
    [
        ("torchvision:r3d_18", {}, "does not name its weights, and none are downloaded; expected torchvision:r3d_18@FILE"),
        ("torchvision:r3d_18@nowhere.pth", {}, "no such file of weights; download it first, or ask for @random"),
        ("torchvision:r4d@random", {}, "has no video network 'r4d' that is known; choose from r3d_18, mc3_18"),
        ("torchvision:r3d_18@random", {"pooling": "cls"}, r"has no \[CLS\] token, and pooling is cls"),
        ("torchvision:r3d_18@random", {"source": "title"}, "reads clips, and this tower's source is title"),
        ("torchvision:r3d_18@random", {"revision": "main"}, "revision is 'main', and weights from a file have none"),
        ("torchvision:r3d_18@random", {"quantize": "8bit"}, "torchvision encoders are loaded whole"),
        ("torchvision:s3d@random", {"frame_count": 4}, "frame_count is 4, and the network reads at least 5 frames"),
        ("torchvision:mvit_v2_s@random", {"frame_count": 5}, "reads clips of 4 frames at 32 px only, and 5 frames at 32"),
        ("pytorchvideo:mvit_base_16x4@random", {"crop_px": 66}, "crop_px is 66; expected a multiple of 4, at least 32"),
        ("pytorchvideo:slow_r50@random", {"crop_px": 16}, "crop_px is 16; expected a multiple of 1, at least 32"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(
    encoder: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load(encoder, **settings)
    assert "\n" not in str(refused.value)


def test_without_pytorchvideo_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pytorchvideo(monkeypatch)
    with pytest.raises(UserError, match=r'cannot be imported .* pip install "versa-toolkit\[video'):
        load("pytorchvideo:slow_r50@random")
