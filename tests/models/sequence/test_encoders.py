"""Every registered sequence encoder: what a state may depend on, saving, half precision, and what can be learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sequence_data import E, L, circle, first_hit_share, noise, real_of, times_of, train_model
from torch import Tensor, nn

from models import IdEmbedding, Recommender, SASRec, from_pretrained, save_pretrained
from models.adaptation import adapt
from models.sequence import SEQUENCES
from toolkit import UserError

SMALL: dict[str, dict[str, Any]] = {
    "sasrec": {},
    "gru4rec": {"layers": 2, "hidden": 12, "output_layer": True},
    "nextitnet": {"dilations": [1, 2]},
    "bert4rec": {"output_layer": True},
    "ligr": {},
    "hstu": {},
}
TIMES = torch.from_numpy(times_of(np.ones((3, L), dtype=np.int32)))
BIDIRECTIONAL = ("bert4rec",)
CAUSAL = [name for name in SEQUENCES if name not in BIDIRECTIONAL]


def make(name: str, **settings: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind = SEQUENCES[name]
        built = kind.settings(max_len=L, **{**SMALL[name], **settings})
        return kind.build(built, embedding_dim=E).eval()


def states(encoder: nn.Module, items: Tensor, real: Tensor, times: Tensor | None = None) -> Tensor:
    """States of inputs without mask tokens; by default the last items of each row have the last of `TIMES`."""
    if getattr(encoder, "takes_mask", False):
        return encoder(items, real, torch.zeros_like(real))
    if getattr(encoder, "takes_times", False):
        rows, length = real.shape
        short = TIMES[:rows, max(L - length, 0) :]
        moments = torch.cat([short[:, :1].expand(-1, length - short.shape[1]), short], dim=1)
        return encoder(items, real, times=moments if times is None else times)
    return encoder(items, real)


def random_items(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, E, generator=torch.Generator().manual_seed(seed))


def test_every_encoder_is_tested() -> None:
    built_in = {
        name for name, kind in SEQUENCES.items() if kind.encoder.__module__.startswith("models.")
    }
    assert built_in == SMALL.keys()  # other tests register kinds of their own


@pytest.mark.parametrize("name", CAUSAL)
def test_the_future_changes_no_bit_of_the_past(name: str) -> None:
    encoder, items, real = make(name), random_items(3, L), real_of(L, L - 2, 3)
    before = states(encoder, items, real)
    for position in range(1, L):
        changed = items.clone()
        changed[:, position:] = random_items(3, L - position, seed=1)
        after = states(encoder, changed, real)
        assert torch.equal(before[:, :position], after[:, :position])
        assert (before[:, position:] - after[:, position:]).abs().max() > 1e-2


def test_later_times_change_no_bit_of_earlier_states() -> None:
    encoder, items, real = make("hstu"), random_items(3, L), real_of(L, L - 2, 3)
    before = states(encoder, items, real)
    for position in range(1, L):
        changed = TIMES.clone()
        changed[:, position:] += 10**9
        after = states(encoder, items, real, changed)
        assert torch.equal(before[:, :position], after[:, :position])
        assert not torch.equal(before[:, position:], after[:, position:])


@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_a_bidirectional_encoder_reads_later_items(name: str) -> None:
    encoder, items, real = make(name), random_items(3, L), real_of(L, L, L)
    changed = items.clone()
    changed[:, -1] = random_items(3, seed=1)
    before, after = states(encoder, items, real), states(encoder, changed, real)
    assert (before[:, 0] - after[:, 0]).abs().min() > 1e-6


@pytest.mark.parametrize("name", SEQUENCES)
def test_padding_changes_nothing(name: str) -> None:
    """Neither its values, to the bit, nor its length, to rounding."""
    encoder, real = make(name), real_of(L, 3, 1)
    items = random_items(3, L)
    other = torch.where(real[..., None], items, 100 * random_items(3, L, seed=1))
    before = states(encoder, items, real)
    assert torch.equal(before[real], states(encoder, other, real)[real])
    for row, length in enumerate((L, 3, 1)):
        alone = items[row : row + 1, L - length :]
        times = TIMES[row : row + 1, L - length :]
        short = states(encoder, alone, torch.ones(1, length, dtype=torch.bool), times)
        torch.testing.assert_close(short[0], before[row, L - length :], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_batch_of_padding_is_finite(name: str) -> None:
    assert states(make(name), torch.zeros(2, L, E), real_of(0, 0)).isfinite().all()


@pytest.mark.parametrize("name", SEQUENCES)
def test_bf16_is_finite_with_histories_of_length_1_and_full(name: str) -> None:
    encoder, real = make(name).train(), real_of(1, L)
    items = (10 * random_items(2, L)).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = states(encoder, items, real)
    found[real].float().square().sum().backward()
    gradients = [items.grad, *(p.grad for p in encoder.parameters() if p.grad is not None)]
    assert all(x.isfinite().all() for x in [found[real], *gradients])  # type: ignore[union-attr]
    plain, half = states(encoder.eval(), items, real), None
    with torch.autocast("cpu", torch.bfloat16):
        half = states(encoder, items, real)
    scale = float(plain[real].detach().abs().max())
    assert float((plain - half.float())[real].detach().abs().max()) < 0.1 * scale


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_weight_is_trained(name: str) -> None:
    encoder = make(name, dropout=0.0).train()
    items, real, target = random_items(3, L), real_of(L, L, L), random_items(3, L, seed=2)
    if getattr(encoder, "takes_mask", False):
        found = encoder(items, real, real_of(1, 1, 1))
    else:
        found = states(encoder, items, real)
    (found * target).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_encoder_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    encoder = make(name)
    model = Recommender(IdEmbedding(9, embedding_dim=E), encoder)
    save_pretrained(model, tmp_path)
    back = from_pretrained(tmp_path)
    assert str(back.sequence_encoder) == str(encoder)
    items, real = random_items(3, L), real_of(L, 3, 1)
    assert torch.equal(states(back.sequence_encoder, items, real), states(encoder, items, real))


@pytest.mark.parametrize("name", SEQUENCES)
def test_initial_weights_have_the_chosen_deviation(name: str) -> None:
    kind = SEQUENCES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = kind.build(kind.settings(), embedding_dim=64, initial_std=0.02)
    matrices = {n: p for n, p in encoder.named_parameters() if p.ndim > 1}
    for weights in matrices.values():
        # The standard error of a sample's deviation: std / sqrt(2 n); four of them.
        assert abs(float(weights.detach().std()) - 0.02) < 4 * 0.02 / (2 * weights.numel()) ** 0.5
    assert matrices


EPOCHS = {"bert4rec": 24}  # a third of the positions is predicted


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(
    ("data", "low", "high"), [(circle, 0.95, 1.0), (noise, 0.0, 0.35)], ids=["circle", "noise"]
)
def test_an_encoder_learns_a_circle_and_nothing_of_noise(
    name: str, data: Callable[[int], NDArray[np.int32]], low: float, high: float
) -> None:
    encoder = make(name, dropout=0.0, **({} if name == "gru4rec" else {"blocks": 1}))
    model = train_model(encoder, data(0), epochs=EPOCHS.get(name, 12))
    assert low <= first_hit_share(model, data(1)) <= high


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sasrec", {"heads": 3}, "sequence.kind sasrec: embedding_dim 16 is not divisible by heads 3"),
        ("bert4rec", {"heads": 3}, "sequence.kind bert4rec: .* not divisible by heads 3"),
        ("ligr", {"heads": 3}, "sequence.kind ligr: .* not divisible by heads 3"),
        ("gru4rec", {"hidden": 12, "output_layer": False}, "hidden is 12, .* width 16; add output_layer"),
        ("nextitnet", {"dilations": []}, "expected at least one dilation"),
        ("nextitnet", {"kernel": 0}, "kernel 0; expected at least one dilation, and positive"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **settings)


@pytest.mark.parametrize("name", ["sasrec", "ligr", "hstu", "bert4rec"])
def test_an_input_that_is_too_long_is_refused(name: str) -> None:
    longest = L + (name in BIDIRECTIONAL)
    states(make(name), random_items(1, longest), real_of(L, length=longest))
    with pytest.raises(ValueError, match=f"expected at most max_len {L}"):
        states(make(name), random_items(1, longest + 1), real_of(L, length=longest + 1))


@pytest.mark.parametrize("skip_padding", [True, False])
def test_the_last_states_are_those_of_all_positions(skip_padding: bool) -> None:
    torch.manual_seed(0)
    encoder = SASRec(embedding_dim=16, max_len=6, skip_padding=skip_padding).eval()
    items = torch.randn(8, 5, 16)
    real = (
        torch.arange(5) >= torch.tensor([0, 1, 2, 3, 4, 4, 0, 5])[:, None]
    )  # the last has no item
    found = encoder.last_states(items, real)
    torch.testing.assert_close(found, encoder(items, real)[:, -1], atol=1e-6, rtol=1e-6)
    adapt(encoder, "parallel")
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight)
    found = encoder.last_states(items, real)
    assert torch.equal(found, encoder(items, real)[:, -1])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_numbers_of_parts_are_at_least_one(name: str) -> None:
    """Heads, blocks, layers and inner widths, as far as an encoder has them."""
    known = {"heads", "blocks", "layers", "inner"} & set(vars(SEQUENCES[name].settings()))
    assert known
    for key in known:
        with pytest.raises(UserError, match=f"sequence.kind {name}: "):
            make(name, **{key: 0})
