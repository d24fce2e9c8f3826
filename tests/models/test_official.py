"""Parity with golden runs of the public network (tests/golden, written by the public code on CPU)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.official import OfficialIISAN, load_official_iisan

GOLDEN = Path(__file__).parent.parent / "golden"
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
    for part, key in zip(parts, ("text", "image", "inter"), strict=True):
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
    with pytest.raises(ValueError, match=r"has not: \['surprise'\]"):
        load_official_iisan({**weights, "surprise": np.zeros(1)}, **options)
    with pytest.raises(ValueError, match=r"position_embedding\.weight' has shape \(10, 16\)"):
        load_official_iisan(weights, **options, max_len=12)


def test_gradients_before_a_backward_pass_are_refused() -> None:
    _, model = load("symmetric")
    with pytest.raises(ValueError, match="call backward"):
        model.official_gradients()


def slow_official_items(weights: Arrays, states: Arrays, kept: dict[str, list[int]]) -> np.ndarray:
    """The public network of unequal depth, written from its equations in plain numpy."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def block(name: str, x: np.ndarray) -> np.ndarray:
        inner = np.maximum(linear(f"{name}.fc_down", x), 0)
        return x + linear(f"{name}.fc_up", inner)

    def gate(name: str) -> np.ndarray:
        return 1 / (1 + np.exp(-weights[name] / 0.1))

    towers = {}
    for key, short, gates in (("text", "bert", "text"), ("image", "cv", "cv")):
        side = np.zeros_like(states[key][:, 0])
        for i, layer in enumerate(kept[key]):
            g = gate(f"mm_encoder.side_gate_params_{gates}.{i}")
            mixed = g * states[key][:, layer] + (1 - g) * side
            side = block(f"mm_encoder.{short}_adapter_list.{i}", mixed)
        head = linear(f"mm_encoder.fc_{short}", side)
        towers[key] = linear(f"mm_encoder.{short}_pre_fc", head)
    levels = min(len(layers) for layers in kept.values())
    side = np.zeros_like(states["text"][:, 0])
    for i in range(levels):
        text, image = (states[key][:, kept[key][-levels:][i]] for key in ("text", "image"))
        g = gate(f"mm_encoder.side_gate_params_mm.{i}")
        side = block(f"mm_encoder.mm_adapter_list.{i}", side + g * image + (1 - g) * text)
    inter = linear("mm_encoder.fc_mm_down", linear("mm_encoder.fc_mm", side))
    joined = np.concatenate([towers["image"], towers["text"], inter], axis=1)
    return linear("com_dense", joined)


def test_unequal_depths_align_from_the_top_and_spare_blocks_do_nothing() -> None:
    golden, _ = load("symmetric")
    weights = {k.removeprefix("weight/"): v for k, v in golden.items() if k.startswith("weight/")}
    gone = ("cv_adapter_list.3", "side_gate_params_cv.3", "side_gate_params_mm.3")
    shallow = {k: v for k, v in weights.items() if not any(part in k for part in gone)}
    # The public code then holds four inter blocks and uses three.
    model = load_official_iisan(shallow, text_layers=[1, 3, 5], image_layers=[3, 5], dropout=0.0)
    states = {key: golden[f"{key}_states"] for key in ("text", "image")}
    ours = model.encode_items({key: torch.from_numpy(value) for key, value in states.items()})
    slow = slow_official_items(shallow, states, {"text": [0, 2, 4, 6], "image": [0, 4, 6]})
    assert_close(ours, slow, 1e-5, "items")

    ids = torch.from_numpy(golden["item_ids"])
    model.loss(ids, ours, torch.from_numpy(golden["pop_prob"]).log()).backward()
    gradients = model.official_gradients()
    assert gradients.keys() == shallow.keys()
    spare = [name for name in shallow if "mm_adapter_list.3" in name]
    assert len(spare) == 4 and not any(gradients[name].any() for name in spare)
    assert all(gradients[name].any() for name in shallow if name not in spare)
