"""Encoders that train: a graph through every family's weights, and the frozen path's numbers.

The tiny models are those of the tests of each library's states.
"""

import pickle
import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import cv2
import pytest
import torch
from tiny_encoders import ALL, CLIPS, IMAGES, TITLES, payloads_of, source_of, write_model

from toolkit import UserError
from toolkit.backbones import EncoderSpec, FrozenEncoder, load_encoder
from toolkit.backbones.encoder import Encoder


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
