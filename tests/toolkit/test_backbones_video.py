"""Video encoders: every kept state equals the library's own, computed clip by clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

from toolkit import UserError
from toolkit.backbones import frames_needed, load_backbone, video
from toolkit.images import decode_jpeg

FRAMES = 4
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
}
PATCHES: dict[str, Any] = {**SMALL, "patch_size": 16, "num_frames": FRAMES}  # 4 to a frame
WORDS = {"vocab_size": 77, "max_position_embeddings": 12, "bos_token_id": 2, "eos_token_id": 3}
V_JEPA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "crop_size": 32,
    "frames_per_clip": FRAMES,
    "pred_hidden_size": 16,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
MIT = {"mit_hidden_size": 16, "mit_intermediate_size": 32, "mit_num_attention_heads": 2}

# By family: configuration, processor, whether it has a [CLS] token, and tokens of a clip: tubes of two frames
# (VideoMAE, ViViT, V-JEPA 2) make 8 of them, single frames 16 (TimeSformer).
FAMILIES: dict[str, tuple[hf.PreTrainedConfig, Any, bool, int]] = {
    "videomae": (
        hf.VideoMAEConfig(**PATCHES, tubelet_size=2),
        hf.VideoMAEImageProcessor,
        False,
        8,
    ),
    "timesformer": (hf.TimesformerConfig(**PATCHES), hf.VideoMAEImageProcessor, True, 17),
    "vivit": (
        hf.VivitConfig(**SMALL, num_frames=FRAMES, tubelet_size=[2, 16, 16]),
        hf.VivitImageProcessor,
        True,
        9,
    ),
    "v-jepa 2": (
        hf.VJEPA2Config(**V_JEPA, patch_size=16, tubelet_size=2),
        hf.VJEPA2VideoProcessor,
        False,
        8,
    ),
}
X_CLIP = hf.XCLIPConfig(
    vision_config={**PATCHES, **MIT}, text_config={**SMALL, **WORDS}, projection_dim=8
)


def clip(seed: int, frames: int, height_px: int = 40, width_px: int = 60) -> list[bytes]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (frames, height_px, width_px, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


CLIPS = [clip(0, 4), clip(1, 4, 80, 40), clip(2, 8)]
TAKEN = [CLIPS[0], CLIPS[1], CLIPS[2][1::2]]  # the middles of four equal parts


def save(folder: Path, config: hf.PreTrainedConfig, processor: Any) -> str:
    torch.manual_seed(0)
    hf.AutoModel.from_config(config).save_pretrained(folder)
    sizes = {"shortest_edge": 32}, {"height": 32, "width": 32}
    processor(size=sizes[0], crop_size=sizes[1]).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A folder for each family, with a model and its processor, as on the hub."""
    folders: dict[str, str] = {}

    def of(family: str) -> str:
        if family not in folders:
            config, processor, *_ = FAMILIES[family]
            folders[family] = save(tmp_path_factory.mktemp("encoder"), config, processor)
        return folders[family]

    return of


def library_states(folder: str, frames: list[bytes]) -> list[Tensor]:
    """Tokens of every state, (S, D), from the library's own model and processor."""
    model: Any = hf.AutoModel.from_pretrained(folder).eval()
    processor = hf.AutoVideoProcessor.from_pretrained(folder)
    pixels = [decode_jpeg(frame) for frame in frames]
    inputs = processor(videos=[pixels], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    return [state[0] for state in states]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_equal_the_library(family: str, saved: Callable[[str], str]) -> None:
    folder = saved(family)
    *_, has_cls, tokens = FAMILIES[family]
    mean = load_backbone(folder, modality="image", pooling="mean").encode(CLIPS)
    assert mean.shape == (3, 3, 16)
    for row, frames in enumerate(TAKEN):
        states = library_states(folder, frames)
        assert [len(state) for state in states] == [tokens] * 3
        torch.testing.assert_close(mean[row], torch.stack([state.mean(0) for state in states]))
    if has_cls:
        cls = load_backbone(folder, modality="image").encode(CLIPS[:1])
        states = library_states(folder, TAKEN[0])
        torch.testing.assert_close(cls[0], torch.stack([state[0] for state in states]))
    else:
        with pytest.raises(UserError, match=r"no \[CLS\] token"):
            load_backbone(folder, modality="image")


@pytest.mark.parametrize("processor", [hf.VideoMAEImageProcessor, hf.CLIPImageProcessor])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_x_clip_averages_its_frames(processor: Any, pooling: str, tmp_path: Path) -> None:
    folder = save(tmp_path, X_CLIP, processor)
    backbone = load_backbone(folder, modality="image", pooling=pooling)  # type: ignore[arg-type]
    ours = backbone.encode(CLIPS)
    model = hf.AutoModel.from_pretrained(folder).eval().vision_model
    library = hf.AutoImageProcessor.from_pretrained(folder)
    for row, frames in enumerate(TAKEN):
        pixels = [decode_jpeg(frame) for frame in frames]
        inputs = library(images=pixels, return_tensors="pt")["pixel_values"].view(4, 3, 32, 32)
        with torch.no_grad():
            states = model(inputs, output_hidden_states=True).hidden_states
        assert {tuple(state.shape) for state in states} == {(4, 5, 16)}
        pool = {"cls": lambda h: h[:, 0].mean(0), "mean": lambda h: h.mean((0, 1))}[pooling]
        torch.testing.assert_close(ours[row], torch.stack([pool(state) for state in states]))
    few = load_backbone(folder, modality="image", pooling=pooling, batch_size=1)  # type: ignore[arg-type]
    torch.testing.assert_close(few.encode(CLIPS), ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_go_through_as_many_images_as_they_have_frames(
    family: str, saved: Callable[[str], str]
) -> None:
    backbones = [
        load_backbone(saved(family), modality="image", pooling="mean", batch_size=size)
        for size in (1, 2 * FRAMES, 128)
    ]
    expected = backbones[-1].encode(CLIPS)
    for backbone in backbones[:-1]:
        torch.testing.assert_close(backbone.encode(CLIPS), expected, atol=1e-5, rtol=1e-5)


def test_how_many_frames_a_model_needs_follows_from_its_configuration(
    saved: Callable[[str], str], tiny_vit: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for family in FAMILIES:
        assert frames_needed(saved(family)) == FRAMES
    assert frames_needed(save(tmp_path, X_CLIP, hf.CLIPImageProcessor)) == FRAMES
    assert frames_needed(str(tiny_vit)) is None
    assert frames_needed(str(tiny_bert)) is None
    assert frames_needed("open_clip:someone/vit") is None


def test_too_few_frames_cannot_be_read(saved: Callable[[str], str], tiny_vit: Path) -> None:
    encoder = load_backbone(saved("vivit"), modality="image").encoder
    assert encoder.can_read(CLIPS[2]) and encoder.can_read(CLIPS[0])
    assert not encoder.can_read(CLIPS[0][:3]) and not encoder.can_read(None)
    assert load_backbone(str(tiny_vit), modality="image").encoder.can_read(CLIPS[0][:1])


@pytest.mark.parametrize(
    ("held", "count", "expected"),
    [(4, 4, [0, 1, 2, 3]), (8, 4, [1, 3, 5, 7]), (5, 2, [1, 3]), (5, 1, [2]), (5, 4, [0, 1, 3, 4])],
)
def test_frames_are_taken_from_the_middles_of_equal_parts(
    held: int, count: int, expected: list[int]
) -> None:
    assert video.spread(range(held), count) == expected  # floor((i + 1/2) * held / count)


def test_a_video_encoder_reads_no_text(saved: Callable[[str], str]) -> None:
    with pytest.raises(UserError, match=r"\(videomae\) reads images"):
        load_backbone(saved("videomae"), modality="text")


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("videomae", {"frame_count": 5}, "reads tubes of 2 frames, so of 5 frames it would ignore the last; set frame_count to 4 or 6"),
        ("v-jepa 2", {"frame_count": 1}, "so of 1 frames it would ignore the last; set frame_count to 2"),
        ("timesformer", {"frame_count": 8}, r"\(timesformer\): frame_count is 8, and its positions are learned for 4 frames"),
        ("vivit", {"frame_count": 5}, r"\(vivit\): frame_count is 5, and its positions are learned"),
        ("videomae", {"crop_px": 64}, "crop_px is 64, and the configuration of its processor decides the size"),
    ],
)  # fmt: skip
def test_a_number_of_frames_that_an_encoder_cannot_read_is_refused(
    family: str, settings: dict[str, int], message: str, saved: Callable[[str], str]
) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(saved(family), modality="image", pooling="mean", **settings)  # type: ignore[arg-type]
    if "frame_count" in settings:
        with pytest.raises(UserError, match=message):
            frames_needed(saved(family), frame_count=settings["frame_count"])


def test_a_configuration_of_an_odd_number_of_frames_is_refused(tmp_path: Path) -> None:
    """MicroLens' VideoMAE of five frames, of which it reads four."""
    config = hf.VideoMAEConfig(**{**PATCHES, "num_frames": 5}, tubelet_size=2)
    folder = save(tmp_path, config, hf.VideoMAEImageProcessor)
    with pytest.raises(UserError, match=r"of 5 frames it would ignore the last; set frame_count"):
        load_backbone(folder, modality="image", pooling="mean")
    four = load_backbone(folder, modality="image", pooling="mean", frame_count=4)
    assert four.encoder.frames == 4
    assert four.encode([clip(0, 5)]).shape == (1, 3, 16)


def test_encoders_with_computed_positions_read_another_number_of_frames(
    saved: Callable[[str], str],
) -> None:
    """The weights are the same; the state of four equal frames' worth of tokens changes with their number."""
    for family in ("videomae", "v-jepa 2"):
        folder = saved(family)
        six = load_backbone(folder, modality="image", pooling="mean", frame_count=6)
        assert frames_needed(folder, frame_count=6) == six.encoder.frames == 6
        four = load_backbone(folder, modality="image", pooling="mean").encoder
        for one, other in zip(six.encoder.model.parameters(), four.model.parameters(), strict=True):
            assert torch.equal(one, other)
        hidden = six.encoder.hidden(six.encoder.prepare([clip(0, 6)]))
        assert {state.shape[1] for state in hidden.states} == {12}
        assert six.encoder.states_settings()["frame_count"] == 6
        assert "frame_count" not in four.states_settings()  # as tables of an older Versa


def test_settings_of_clips_are_refused_for_encoders_that_read_none(
    tiny_vit: Path, tiny_bert: Path
) -> None:
    for folder, modality in ((tiny_vit, "image"), (tiny_bert, "text")):
        with pytest.raises(UserError, match="reads no clips, and frame_count is 4; leave it out"):
            load_backbone(str(folder), modality=modality, pooling="mean", frame_count=4)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="reads no clips, and frame_count is 4"):
        frames_needed(str(tiny_vit), frame_count=4)
    with pytest.raises(UserError, match="frame_count is 0; it must be at least 1"):
        load_backbone(str(tiny_vit), modality="image", frame_count=0)
