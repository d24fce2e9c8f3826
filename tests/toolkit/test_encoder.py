"""Encoders that train: a graph through every family's weights, and the frozen path's numbers.

The tiny models are those of the tests of each library's states.
"""

import json
import pickle
import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import torch
import transformers as hf
from safetensors.torch import save_file

from toolkit import UserError
from toolkit.backbones import EncoderSpec, FrozenEncoder, load_encoder
from toolkit.backbones.encoder import Encoder

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, Any] = {**SIZE, "intermediate_size": 32}
PATCHES: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 16}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS: dict[str, Any] = {"vocab_size": 80, "pad_token_id": 0}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
CLIP = {"vision_config": PATCHES, "text_config": {**SMALL, **WORDS, "max_position_embeddings": 12}}
STAGES = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1]}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

TITLES = ["a", "the longest of these titles by far", "short"]


def jpegs(seed: int, count: int) -> list[bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in pixels]


IMAGES = jpegs(0, 3)
CLIPS = [jpegs(1, 4), jpegs(2, 4), jpegs(3, 6)]

# By family: configuration, what is read, and the source it stands for.
FAMILIES: dict[str, tuple[hf.PreTrainedConfig, list[Any], str]] = {
    "bert": (hf.BertConfig(**SMALL, **WORDS), TITLES, "title"),
    "llama": (hf.LlamaConfig(**SMALL, **WORDS, num_key_value_heads=1), TITLES, "title"),
    "t5": (hf.T5Config(**T5, **WORDS, decoder_start_token_id=0), TITLES, "title"),
    "clip text": (hf.CLIPConfig(**CLIP), TITLES, "title"),
    "vit": (hf.ViTConfig(**PATCHES), IMAGES, "cover"),
    "vit of frames": (hf.ViTConfig(**PATCHES), CLIPS, "frames"),
    "clip image": (hf.CLIPConfig(**CLIP), IMAGES, "cover"),
    "mae": (hf.ViTMAEConfig(**PATCHES), IMAGES, "cover"),
    "swin": (hf.SwinConfig(**SWIN, image_size=32, patch_size=4), IMAGES, "cover"),
    "resnet": (hf.ResNetConfig(**STAGES), IMAGES, "cover"),
    "videomae": (hf.VideoMAEConfig(**PATCHES, num_frames=4, tubelet_size=2), CLIPS, "frames"),
    "x-clip": (
        hf.XCLIPConfig(
            vision_config={
                **PATCHES,
                "num_frames": 4,
                "mit_hidden_size": 16,
                "mit_intermediate_size": 32,
                "mit_num_attention_heads": 2,
            },
            text_config={**SMALL, **WORDS, "max_position_embeddings": 12},
            projection_dim=8,
        ),
        CLIPS,
        "frames",
    ),
}
OPEN_CLIP: dict[str, tuple[list[Any], str]] = {
    "open_clip text": (TITLES, "title"),
    "open_clip image": (IMAGES, "cover"),
}
ALL = [*FAMILIES, *OPEN_CLIP]


def write_model(folder: Path, family: str) -> str:
    """A tiny random model with its tokenizer or processor, as on the hub; returns its name."""
    torch.manual_seed(0)
    if family in OPEN_CLIP:
        vision = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
        text = {"context_length": 12, "width": 16, "heads": 2, "layers": 2}
        config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
        about = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.2] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(about))
        save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
        return f"open_clip:{folder}"
    hf.AutoModel.from_config(FAMILIES[family][0]).save_pretrained(folder)
    if FAMILIES[family][2] == "title":
        words = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        vocabulary = {word: row for row, word in enumerate(words)}
        hf.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    elif family == "videomae":
        size = {"shortest_edge": 32}, {"height": 32, "width": 32}
        hf.VideoMAEImageProcessor(size=size[0], crop_size=size[1]).save_pretrained(folder)
    else:
        hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """The encoder of a family, loaded once and copied."""
    encoders: dict[str, Encoder] = {}

    def encoder(family: str) -> Encoder:
        if family not in encoders:
            name = write_model(tmp_path_factory.mktemp("encoder"), family)
            spec = EncoderSpec(name, source=source_of(family), pooling="mean")
            encoders[family] = load_encoder(spec)
        return deepcopy(encoders[family])

    return encoder


def payloads_of(family: str) -> list[Any]:
    return OPEN_CLIP[family][0] if family in OPEN_CLIP else FAMILIES[family][1]


def source_of(family: str) -> str:
    return OPEN_CLIP[family][1] if family in OPEN_CLIP else FAMILIES[family][2]


def reached(encoder: Encoder) -> set[str]:
    """Names of the weights with a gradient that is not zero."""
    weights = encoder.model.named_parameters()
    return {name for name, x in weights if x.grad is not None and x.grad.any()}


@pytest.mark.parametrize("family", ALL)
def test_gradients_reach_the_first_and_the_last_layer(
    family: str, loaded: Callable[[str], Encoder]
) -> None:
    encoder = loaded(family)
    assert not encoder.training
    free = {name for name, x in encoder.model.named_parameters() if x.requires_grad}
    states = encoder(encoder.prepare(payloads_of(family)))
    assert states.shape == (3, encoder.layers, encoder.width) and states.requires_grad
    torch.manual_seed(1)
    (states[:, 0] * torch.randn_like(states[:, 0])).sum().backward()
    embedding = reached(encoder)
    encoder.zero_grad()
    states = encoder(encoder.prepare(payloads_of(family)))
    (states[:, -1] * torch.randn_like(states[:, -1])).sum().backward()
    last = reached(encoder)
    # The embedding output depends on few weights, the last layer on nearly all: heads and poolers are beyond it.
    assert embedding and embedding < last <= free
    layered = [name for name in free if any(part.isdigit() for part in name.split("."))]
    assert len(last & set(layered)) > 0.7 * len(layered)


@pytest.mark.parametrize("family", ALL)
def test_the_frozen_encoder_computes_the_same_without_a_graph(
    family: str, loaded: Callable[[str], Encoder]
) -> None:
    encoder, payloads = loaded(family), payloads_of(family)
    trained = encoder(encoder.prepare(payloads))
    frozen = FrozenEncoder(encoder.train(), batch_size=2, batch_tokens=8)
    assert not encoder.training and not any(x.requires_grad for x in encoder.parameters())
    stored = frozen.encode(payloads)
    assert not stored.requires_grad and stored.dtype == torch.float32
    torch.testing.assert_close(trained.detach(), stored, atol=1e-5, rtol=1e-5)
    for _, states in frozen.batches(payloads):
        assert states.grad_fn is None


@pytest.mark.parametrize("family", ALL)
def test_inputs_can_be_prepared_in_another_process_and_by_several_threads(
    family: str, loaded: Callable[[str], Encoder]
) -> None:
    encoder, payloads = loaded(family), payloads_of(family)
    expected = encoder.prepare(payloads)
    elsewhere = pickle.loads(pickle.dumps(encoder.prepare))
    made = [elsewhere(payloads)]
    threads = [
        threading.Thread(target=lambda: made.append(encoder.prepare(payloads))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for inputs in made:
        assert inputs.images == expected.images
        for name, tensor in expected.tensors.items():
            assert tensor.device.type == "cpu" and torch.equal(inputs.tensors[name], tensor)


def test_a_tokenizer_does_not_mix_up_threads_that_cut_at_different_lengths(
    loaded: Callable[[str], Encoder],
) -> None:
    prepare = loaded("bert").prepare
    short = replace(prepare, preparation=replace(prepare.preparation, max_tokens=4))  # type: ignore[type-var]
    widths: dict[str, set[int]] = {"whole": set(), "short": set()}

    def work(name: str, prepare: Any) -> None:
        for _ in range(50):
            widths[name].add(prepare(TITLES).tensors["input_ids"].shape[1])

    threads = [
        threading.Thread(target=work, args=(name, one))
        for name, one in {"whole": prepare, "short": short}.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widths == {"whole": {30}, "short": {4}}


def test_dropout_is_the_encoder_s_own_and_acts_in_training_mode(
    loaded: Callable[[str], Encoder],
) -> None:
    encoder = loaded("bert")
    rates = {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.1}  # BERT's default
    inputs = encoder.prepare(TITLES)
    assert torch.equal(encoder(inputs), encoder(inputs))
    encoder.train()
    torch.manual_seed(0)
    assert not torch.equal(encoder(inputs), encoder(inputs))


def test_a_copy_runs_its_own_weights(loaded: Callable[[str], Encoder]) -> None:
    encoder = loaded("bert")
    inputs = encoder.prepare(TITLES)
    before, other = encoder(inputs), deepcopy(encoder)
    with torch.no_grad():
        other.model.embeddings.word_embeddings.weight += 1
    assert torch.equal(encoder(inputs), before) and not torch.equal(other(inputs), before)


def test_an_encoder_learns(loaded: Callable[[str], Encoder]) -> None:
    encoder = loaded("vit")
    inputs = encoder.prepare(IMAGES)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = (encoder(inputs)[:, -1] - torch.eye(3, encoder.width)).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_a_broken_image_is_reported_and_left_out(loaded: Callable[[str], Encoder]) -> None:
    frozen = FrozenEncoder(loaded("vit"), batch_size=2)
    payloads = [IMAGES[0], b"no image", *IMAGES[1:]]
    broken: list[tuple[int, str]] = []
    batches = list(frozen.batches(payloads, on_broken=lambda row, e: broken.append((row, str(e)))))
    assert broken == [(1, "8 bytes that are not a readable image")]
    assert [rows for rows, _ in batches] == [[0, 2], [3]]
    whole = FrozenEncoder(loaded("vit"), batch_size=2).encode(IMAGES)
    assert torch.equal(torch.cat([states for _, states in batches]), whole)
    with pytest.raises(ValueError, match="8 bytes that are not a readable image"):
        frozen.encode(payloads)


def test_a_clip_with_a_broken_frame_is_left_out_whole(loaded: Callable[[str], Encoder]) -> None:
    frozen = FrozenEncoder(loaded("vit of frames"), batch_size=3)
    clips = [CLIPS[0], [*CLIPS[1], b"no image"], CLIPS[2]]
    rows = []
    batches = list(frozen.batches(clips, on_broken=lambda row, error: rows.append(row)))
    assert rows == [1] and [rows for rows, _ in batches] == [[0], [2]]
    expected = frozen.encode([CLIPS[0], CLIPS[2]])
    assert torch.equal(torch.cat([states for _, states in batches]), expected)


def test_every_image_is_decoded_once(
    loaded: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(1) or imdecode(*args))
    for family in ("vit", "vit of frames", "videomae", "open_clip image"):
        encoder, payloads = loaded(family), payloads_of(family)
        count = sum(len(one) if isinstance(one, list) else 1 for one in payloads)
        decoded.clear()  # loading decodes two blank images
        encoder.prepare(payloads)
        assert len(decoded) == count
        FrozenEncoder(encoder, batch_size=2).encode(payloads)
        assert len(decoded) == 2 * count


def test_a_spec_is_read_from_the_record_of_stored_states() -> None:
    states = {"encoder": "x", "source": "told", "pooling": "mean", "precision": "bfloat16"}
    step = {"encoder": "y", "layers": [1], "max_tokens": 7, "lowercase": False, "store": "float16"}
    step |= {"revision": "abc", "dtype": "auto", "device": "cuda", "trust_remote_code": True}
    assert EncoderSpec.of_record(states, step) == EncoderSpec(
        "x",
        source="told",
        pooling="mean",
        layers=[1],
        revision="abc",
        max_tokens=7,
        lowercase=False,
        dtype="bfloat16",
    )
    old = EncoderSpec.of_record({"encoder": "x", "source": "title", "pooling": "cls"}, {})
    assert old == EncoderSpec("x", dtype="float32")  # as all states of an older Versa


def test_a_spec_of_no_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="max_tokens is 0; it must be at least 1"):
        EncoderSpec("x", max_tokens=0)
