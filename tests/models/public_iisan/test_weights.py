"""Parity with golden runs of the public network (tests/golden, written by the public code on CPU)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from public_iisan import Shape, Weights, as_uncached, public_weights, slow_items

from models.public_iisan.weights import OfficialIISAN, load_official_iisan

GOLDEN = Path(__file__).parents[2] / "golden"
Arrays = dict[str, np.ndarray]


def layers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def load(name: str) -> tuple[Arrays, OfficialIISAN]:
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    meta = json.loads(str(arrays["meta"]))
    weights = {k.removeprefix("weight/"): v for k, v in arrays.items() if k.startswith("weight/")}
    return arrays, load_official_iisan(
        weights,
        text_layers=layers(meta["text_blocks"]),
        image_layers=layers(meta["image_blocks"]),
        max_len=meta["max_seq_len"],
        num_heads=meta["num_attention_heads"],
        dropout=meta["dropout"],
    )


def assert_close(ours: torch.Tensor, golden: np.ndarray, relative: float, name: str) -> None:
    error = np.abs(ours.detach().numpy() - golden).max() / np.abs(golden).max()
    assert error <= relative, f"{name}: {error:.1e} of the largest value"


@pytest.mark.parametrize("name", ["symmetric", "wide_text"])
def test_outputs_loss_and_gradients_equal_the_public_code(name: str) -> None:
    golden, model = load(name)
    states = {key: torch.from_numpy(golden[f"{key}_states"]) for key in ("text", "image")}
    ids = torch.from_numpy(golden["item_ids"])

    items = model.encode_items(states)
    users = model.encode_sequences(items[ids[:, :-1]], ids[:, :-1] != 0)
    loss = model.loss(ids, items, torch.from_numpy(golden["pop_prob"]).log())
    loss.backward()

    kept = model.item_encoder.kept  # type: ignore[union-attr]
    parts = model.item_encoder.network.parts(  # type: ignore[union-attr, operator]
        {key: states[key][:, kept[key]] for key in kept}  # type: ignore[index, union-attr]
    )
    for part, key in zip(parts.values(), ("text", "image", "inter"), strict=True):
        assert_close(part, golden[f"{key}_embedding"], 1e-5, key)
    assert_close(items, golden["item_embedding"], 1e-5, "items")
    assert_close(users, golden["user_states"], 1e-5, "users")
    assert_close(loss, golden["loss"], 1e-5, "loss")
    gradients = model.official_gradients()
    expected = {k.removeprefix("grad/"): v for k, v in golden.items() if k.startswith("grad/")}
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        assert_close(gradient, expected[key], 1e-4, key)


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named() -> None:
    golden, _ = load("symmetric")
    weights = {k.removeprefix("weight/"): v for k, v in golden.items() if k.startswith("weight/")}
    options: dict = {"text_layers": [1, 3, 5], "image_layers": [1, 3, 5]}
    with pytest.raises(ValueError, match=r"weights lack 'com_dense\.bias'"):
        load_official_iisan({k: v for k, v in weights.items() if k != "com_dense.bias"}, **options)
    with pytest.raises(ValueError, match=r"network lacks: \['surprise'\]"):
        load_official_iisan({**weights, "surprise": np.zeros(1)}, **options)
    with pytest.raises(ValueError, match=r"position_embedding\.weight' has shape \(10, 16\)"):
        load_official_iisan(weights, **options, max_len=12)


def test_gradients_before_a_backward_pass_are_refused() -> None:
    _, model = load("symmetric")
    with pytest.raises(ValueError, match="call backward"):
        model.official_gradients()


SHAPES: dict[str, tuple[Shape, Shape]] = {
    "equal": ((4, 16), (4, 16)),
    "deeper text": ((5, 16), (3, 16)),
    "deeper image": ((3, 16), (5, 16)),
    "wider text": ((4, 24), (4, 16)),
    "wider image": ((4, 16), (4, 24)),
    "wider, deeper text": ((5, 24), (3, 16)),
    "wider text, deeper image": ((3, 24), (5, 16)),
    "wider image, deeper text": ((5, 16), (3, 24)),
}
VARIANTS: dict[str, dict[str, bool]] = {
    "IISAN": {"wide_heads": True},
    "intra alone": {"inter": False},
    "inter alone": {"intra": False, "wide_heads": True},
    "sum": {"gated": False, "wide_heads": True},
}
CASES = {
    **{name: (*shape, {}) for name, shape in SHAPES.items()},
    **{name: ((4, 16), (4, 16), variant) for name, variant in VARIANTS.items()},
}
# Inter blocks beyond the shallower tower: made by the public code, never used.
SPARE = {"deeper text": 2 * 4, "wider text, deeper image": 2 * 4 + 2 * 2, "wider image, deeper text": 2 * 4 + 2 * 2}  # fmt: skip


def chosen(shape: Shape) -> list[int]:
    """Layers 1, 3, …: with the embedding output, as many kept states as blocks."""
    return list(range(1, 2 * shape[0] - 2, 2))


def kept_of(shape: Shape) -> list[int]:
    """Where they stand among an encoder's full states."""
    return [0, *(layer + 1 for layer in chosen(shape))]


def of_random_weights(case: str) -> tuple[OfficialIISAN, dict[str, torch.Tensor], Weights]:
    text, image, variant = CASES[case]
    weights = public_weights(text, image, **variant)
    layers = {"text_layers": chosen(text), "image_layers": chosen(image)}
    model = load_official_iisan(weights, **layers, dropout=0.0)
    torch.manual_seed(1)
    full = {
        key: torch.randn(9, 2 * n, width) for key, (n, width) in (("text", text), ("image", image))
    }
    return model, full, weights


@pytest.mark.parametrize("case", CASES)
def test_every_shape_and_variant_equals_the_equations_in_values_and_gradients(case: str) -> None:
    model, full, weights = of_random_weights(case)
    model.double()  # saturated gates have gradients whose float32 noise would need a wide margin
    full = {key: states.double() for key, states in full.items()}
    leaves = {name: tensor.double().requires_grad_() for name, tensor in weights.items()}
    ids = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 2, 7, 8]])
    log_popularity = torch.linspace(-3, -1, 9).double()

    ours = model.encode_items(full)
    model.loss(ids, ours, log_popularity).backward()
    gradients = model.official_gradients()

    kept = {key: states[:, kept_of(CASES[case][key == "image"])] for key, states in full.items()}
    slow = slow_items(leaves, kept)
    assert_close(ours, slow.detach().numpy(), 1e-9, "items")
    item_side = [name for name in weights if not name.startswith("user_encoder")]
    loss = model.loss(ids, slow, log_popularity)
    wanted = torch.autograd.grad(loss, [leaves[name] for name in item_side], allow_unused=True)
    expected = dict(zip(item_side, wanted, strict=True))
    assert gradients.keys() == weights.keys()
    unused = [name for name, gradient in expected.items() if gradient is None]
    assert len(unused) == SPARE.get(case, 0)
    assert not any(gradients[name].any() for name in unused)
    for name in {*item_side} - {*unused}:
        assert_close(gradients[name], expected[name].numpy(), 1e-9, name)


def test_a_checkpoint_of_the_uncached_code_gives_the_same_without_its_encoders() -> None:
    cached, full, weights = of_random_weights("IISAN")
    checkpoint = {"model_state_dict": as_uncached(weights), "optimizer": {"state": {}}}
    with pytest.warns(UserWarning, match="2 tensors of the frozen encoders are ignored"):
        model = load_official_iisan(
            checkpoint, text_layers=[1, 3, 5], image_layers=[1, 3, 5], dropout=0.0
        )
    items = model.encode_items(full)
    assert torch.equal(items, cached.encode_items(full))
    model.loss(torch.arange(9)[None], items, torch.zeros(9)).backward()
    assert "mm_encoder.cv_encoder.image_net.classifier.weight" in model.official_gradients()


def test_gelu_is_taken_by_word() -> None:
    _, full, weights = of_random_weights("equal")
    layers: dict = {"text_layers": [1, 3, 5], "image_layers": [1, 3, 5]}
    gelu = load_official_iisan(weights, **layers, activation="gelu")
    relu = load_official_iisan(weights, **layers)
    assert not torch.allclose(gelu.encode_items(full), relu.encode_items(full), atol=1e-3)


def test_other_depths_and_what_is_no_tensor_are_named() -> None:
    weights = public_weights((4, 16), (4, 16))
    with pytest.raises(
        ValueError, match=r"4 text blocks; expected 3, .*text_layers .*remove_first"
    ):
        load_official_iisan(weights, text_layers=[1, 3], image_layers=[1, 3, 5])
    with pytest.raises(ValueError, match="'epoch' is not a tensor"):
        load_official_iisan({**weights, "epoch": 3}, text_layers=[1], image_layers=[1])
