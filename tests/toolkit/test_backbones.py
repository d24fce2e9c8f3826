"""Frozen encoders: every kept state equals the library's own, computed item by item without padding."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hub_cache import COMMIT, cache_as_downloaded
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from toolkit import UserError
from toolkit.backbones import load_backbone, pooling
from toolkit.backbones.resolve import resolve
from toolkit.images import decode_jpeg

TITLES = ["a", "the longest of these titles by far", "&amp; short", "b " * 100]


def jpeg(seed: int, height_px: int = 40, width_px: int = 60) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.mark.parametrize("pool", ["cls", "mean", "last"])
def test_text_states_ignore_padding(tiny_bert: Path, pool: str) -> None:
    backbone = load_backbone(str(tiny_bert), modality="text", pooling=pool)  # type: ignore[arg-type]
    ours = backbone.encode(TITLES)
    assert ours.shape == (4, 4, 16)
    model = AutoModel.from_pretrained(tiny_bert).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    reduce = {"cls": lambda h: h[0, 0], "mean": lambda h: h[0].mean(0), "last": lambda h: h[0, -1]}
    for row, title in enumerate(TITLES):
        tokens = tokenizer(title.lower(), truncation=True, max_length=30, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens, output_hidden_states=True).hidden_states
        expected = torch.stack([reduce[pool](h) for h in hidden])
        torch.testing.assert_close(ours[row], expected)


def test_image_states_equal_the_library_and_its_own_preprocessing(tiny_vit: Path) -> None:
    backbone = load_backbone(str(tiny_vit), modality="image")
    images = [jpeg(0), jpeg(1, 100, 20)]
    ours = backbone.encode(images)
    assert ours.shape == (2, 3, 16)
    model = AutoModel.from_pretrained(tiny_vit).eval()
    processor = AutoImageProcessor.from_pretrained(tiny_vit)
    for row, image in enumerate(images):
        with torch.no_grad():
            pixels = processor(images=decode_jpeg(image), return_tensors="pt")
            hidden = model(**pixels, output_hidden_states=True).hidden_states
        torch.testing.assert_close(ours[row], torch.stack([h[0, 0] for h in hidden]))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 128])
def test_states_of_a_clip_are_the_mean_of_its_frames_a_few_at_a_time(
    tiny_vit: Path, batch_size: int
) -> None:
    clips = [[jpeg(seed) for seed in seeds] for seeds in (range(7), range(7, 8), range(8, 10))]
    alone = load_backbone(str(tiny_vit), modality="image")
    expected = [torch.cat([alone.encode([frame]) for frame in clip]).mean(0) for clip in clips]
    backbone = load_backbone(str(tiny_vit), modality="image", batch_size=batch_size)
    prepare, seen = backbone.encoder.prepare, []

    class Watched(type(prepare.preparation)):
        def collate(self, read: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
            seen.append(len(read))
            return super().collate(read)

    watched = Watched(prepare.preparation.processor)
    backbone.encoder.prepare = replace(prepare, preparation=watched)
    ours = backbone.encode(clips)
    torch.testing.assert_close(ours, torch.stack(expected))
    assert max(seen) <= batch_size and sum(seen) == 10


def test_texts_too_go_through_a_few_at_a_time(tiny_bert: Path) -> None:
    whole = load_backbone(str(tiny_bert), modality="text").encode(TITLES)
    few = load_backbone(str(tiny_bert), modality="text", batch_size=3).encode(TITLES)
    torch.testing.assert_close(few, whole)


def test_kept_layers_are_the_embedding_output_and_the_chosen_ones(tiny_bert: Path) -> None:
    every = load_backbone(str(tiny_bert), modality="text").encode(TITLES)
    some = load_backbone(str(tiny_bert), modality="text", layers=[0, 2])
    assert some.encoder.kept == (0, 1, 3) and some.encoder.layers == 3
    torch.testing.assert_close(some.encode(TITLES), every[:, [0, 1, 3]])
    assert some.encoder.states_metadata()["kept"] == "0,1,3"


def test_titles_are_lower_cased_and_cut_as_asked(tiny_bert: Path) -> None:
    lower = load_backbone(str(tiny_bert), modality="text", max_tokens=8)
    upper = load_backbone(str(tiny_bert), modality="text", max_tokens=8, lowercase=False)
    torch.testing.assert_close(lower.encode(["ABC abc"]), lower.encode(["abc ABC"]))
    assert upper.encoder.prepare(["abc def ghi jkl"]).tensors["input_ids"].shape == (1, 8)


def test_pooling_finds_real_tokens_whichever_side_pads() -> None:
    states = torch.arange(8.0).reshape(2, 4, 1)
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])
    assert pooling.cls(states, mask).flatten().tolist() == [0, 5]
    assert pooling.last(states, mask).flatten().tolist() == [1, 7]
    assert pooling.mean(states, mask).flatten().tolist() == [0.5, 6]


def test_a_fingerprint_changes_with_the_weights(tiny_bert: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bert, tmp_path / "copy"))
    before = load_backbone(str(copy), modality="text").encoder.revision
    assert before == load_backbone(str(tiny_bert), modality="text").encoder.revision
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert load_backbone(str(copy), modality="text").encoder.revision != before


def test_the_revision_of_a_name_on_the_hub_is_its_commit(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_as_downloaded(tiny_bert, "someone/bert", tmp_path, monkeypatch)
    for revision in (None, "main", COMMIT):
        backbone = load_backbone("someone/bert", modality="text", revision=revision)
        assert backbone.encoder.revision == COMMIT


def test_an_encoder_that_cannot_be_had_is_named(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"'someone/nothing' is neither a local folder nor in the"):
        load_backbone("someone/nothing", modality="text")
    with pytest.raises(UserError, match="no such folder"):
        load_backbone("./nowhere", modality="text")
    with pytest.raises(UserError, match="package 'no_such_package' is not installed"):
        resolve("package:no_such_package/model")
    with pytest.raises(UserError, match=r"has no folder '\.\./\.\./secrets'"):
        resolve("package:prep/../../secrets")
    with pytest.raises(UserError, match="holds no model"):
        load_backbone(str(tmp_path), modality="text")


def test_pickled_weights_are_never_loaded(tiny_bert: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bert, tmp_path / "copy"))
    weights = AutoModel.from_pretrained(copy).state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_backbone(str(copy), modality="text")


def test_what_is_no_image_is_said() -> None:
    for broken in (b"", b"no picture", jpeg(0)[:200]):
        with pytest.raises(ValueError, match="not a readable image"):
            decode_jpeg(broken)
