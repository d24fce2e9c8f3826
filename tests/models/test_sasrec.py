import pytest
import torch

from models import SASRec
from models.items import IdEmbedding


def encoder() -> SASRec:
    torch.manual_seed(0)
    return SASRec(embedding_dim=16, max_len=6, heads=2, blocks=2).eval()


def test_the_future_does_not_change_the_past() -> None:
    model, x, real = encoder(), torch.randn(3, 6, 16), torch.ones(3, 6, dtype=torch.bool)
    changed = x.clone()
    changed[:, 4:] = torch.randn(3, 2, 16)
    before, after = model(x, real), model(changed, real)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 0.1


def test_what_stands_at_padding_does_not_matter() -> None:
    model, x = encoder(), torch.randn(3, 6, 16)
    real = torch.arange(6) >= 2
    changed = x.clone()
    changed[:, :2] = 100.0
    before, after = (model(v, real.expand(3, 6)) for v in (x, changed))
    torch.testing.assert_close(before[:, 2:], after[:, 2:])


def test_a_short_input_equals_a_padded_one() -> None:
    model, x = encoder(), torch.randn(2, 4, 16)
    padded = torch.cat([torch.zeros(2, 2, 16), x], dim=1)
    real = (torch.arange(6) >= 2).expand(2, 6)
    torch.testing.assert_close(model(x, real[:, 2:]), model(padded, real)[:, 2:])


def test_all_padding_gives_finite_values() -> None:
    out = encoder()(torch.zeros(1, 6, 16), torch.zeros(1, 6, dtype=torch.bool))
    assert torch.isfinite(out).all()


def test_limits_are_named() -> None:
    with pytest.raises(ValueError, match="expected at most max_len 6"):
        encoder()(torch.zeros(1, 7, 16), torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="not divisible by heads 3"):
        SASRec(embedding_dim=16, heads=3)


def test_left_out_padding_changes_no_real_state_and_no_gradient() -> None:
    model, real = encoder(), torch.arange(6) >= torch.tensor([[0], [3], [5], [6]])
    x = torch.randn(4, 6, 16, requires_grad=True)
    wanted = torch.randn(4, 6, 16) * real[..., None]
    found = []
    for skip in (False, True):
        model.skip_padding = skip
        states = model(x, real)
        inputs = [x, *model.parameters()]
        found.append((states, torch.autograd.grad((states * wanted).sum(), inputs)))
    (dense, of_dense), (skipped, of_skipped) = found
    torch.testing.assert_close(skipped[real], dense[real])
    assert (skipped[~real] == 0).all() and (dense[~real] != 0).any()
    for one, other in zip(of_skipped, of_dense, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_weights_begin_as_small_as_they_are_asked_to() -> None:
    torch.manual_seed(0)
    model = SASRec(embedding_dim=64, initial_std=0.02)
    drawn = [w for n, w in model.named_parameters() if n.endswith("weight") and "norm" not in n]
    for weights in [*drawn, IdEmbedding(500, initial_std=0.02).table.weight[1:]]:
        # The standard error of a sample's deviation: std / sqrt(2 n); four of them.
        assert abs(float(weights.detach().std()) - 0.02) < 4 * 0.02 / (2 * weights.numel()) ** 0.5
    assert not IdEmbedding(5, initial_std=0.02).table.weight[0].any()
