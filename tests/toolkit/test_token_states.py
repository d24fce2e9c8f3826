"""States of tokens: of every family of encoders, and of items in batches of different lengths."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from tiny_encoders import TITLES, payloads_of, source_of, write_model

from toolkit.backbones import Encoder, EncoderSpec, load_encoder
from toolkit.backbones.prepared import Prepared, prepare_items
from toolkit.backbones.token_states import TokenStates, concatenate, single_tokens

Load = Callable[[str], Encoder]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The encoder of a family with its final norm, loaded once."""
    kept: dict[str, Encoder] = {}

    def load(family: str) -> Encoder:
        if family not in kept:
            name = write_model(tmp_path_factory.mktemp("encoder"), family)
            spec = EncoderSpec(name, source=source_of(family), pooling="mean")
            kept[family] = load_encoder(spec, final_norm=True)
        return deepcopy(kept[family])

    return load


FAMILIES = ["bert", "llama", "t5", "vit", "vit of frames", "swin", "resnet", "videomae"]


@pytest.mark.parametrize("family", [*FAMILIES, "open_clip text", "open_clip image"])
def test_the_mean_of_the_tokens_is_the_pooled_state(family: str, load: Load) -> None:
    encoder = load(family)
    inputs = encoder.prepare(payloads_of(family))
    tokens, pooled = encoder.token_states(inputs), encoder(inputs)[:, -1]
    assert tokens.states.dtype == torch.float32 and tokens.real.dtype == torch.bool
    assert tokens.states.shape == (3, tokens.real.shape[1], encoder.width)
    torch.testing.assert_close(tokens.mean(), pooled, rtol=1e-5, atol=1e-6)


def test_a_norm_of_pooled_vectors_reads_every_token(load: Load) -> None:
    encoder = load("clip image")
    assert encoder.final_norm is not None and encoder.final_norm.pooled
    encoder.spec = encoder.spec.__class__(**{**vars(encoder.spec), "pooling": "cls"})
    inputs = encoder.prepare(payloads_of("clip image"))
    torch.testing.assert_close(encoder.token_states(inputs).states[:, 0], encoder(inputs)[:, -1])


def test_items_of_several_batches(load: Load) -> None:
    """Each item as it is alone, padded to the longest; items without a source have one token."""
    encoder = load("bert")
    payloads = [TITLES[0], None, TITLES[1], TITLES[2], None]
    prepared, broken = prepare_items(encoder.prepare, payloads, tokens_at_once=8, overhead_tokens=0)
    assert len(prepared.batches) > 1 and broken == []
    missing = torch.full((encoder.width,), 3.0, requires_grad=True)
    spare = encoder.prepare(["one more"])
    found = prepared.encode_tokens(encoder, missing, spare=[spare])
    for row, payload in enumerate(payloads):
        alone = single_tokens(missing[None])
        if payload is not None:
            alone = encoder.token_states(encoder.prepare([payload]))
        states = found.states[row][found.real[row]]
        torch.testing.assert_close(states, alone.states[0], rtol=1e-5, atol=1e-6)
    found.mean().square().sum().backward()
    assert missing.grad is not None and missing.grad.all()
    nothing = prepare_items(encoder.prepare, [None, None])[0].encode_tokens(encoder, missing)
    assert nothing.states.shape == (2, 1, encoder.width) and nothing.real.all()


def test_spare_inputs_have_a_gradient_of_zero(load: Load) -> None:
    """Processes that call an encoder equally often have gradients of the same parameters."""
    encoder = load("bert").train()
    found = Prepared((), torch.zeros(2, dtype=torch.long)).encode_tokens(
        encoder, torch.ones(encoder.width), spare=[encoder.prepare(["spare"])]
    )
    found.states.sum().backward()
    layer = encoder.model.encoder.layer[0].output.dense.weight  # type: ignore[union-attr]
    assert layer.grad is not None and not layer.grad.any()  # type: ignore[union-attr]


def test_padding_is_no_part_of_a_mean_even_if_it_is_not_finite() -> None:
    states = torch.tensor([[[1.0], [3.0], [torch.inf]], [[5.0], [torch.nan], [torch.nan]]])
    real = torch.tensor([[True, True, False], [True, False, False]])
    tokens = TokenStates(states, real)
    assert tokens.mean().tolist() == [[2.0], [5.0]]
    joined = concatenate([tokens, single_tokens(torch.tensor([[8.0], [7.0]]))])
    assert joined.states.shape == (2, 4, 1)
    assert joined.mean().tolist() == [[4.0], [6.0]]  # (1 + 3 + 8) / 3, (5 + 7) / 2
