"""`python -m benchmarks.parity`: golden files written here from equations, and what the command says of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity import main

B, L, E, WIDTH, HEADS = 2, 5, 8, 3, 2
Weights = dict[str, Tensor]


def weights_of_user_encoder(blocks: int) -> Weights:
    """SASRec with Houlsby's adapters, under the public code's names."""
    shapes: dict[str, tuple[int, ...]] = {"position_embedding.weight": (L, E)}
    shapes |= {f"layer_norm.{part}": (E,) for part in ("weight", "bias")}
    for block in range(blocks):
        inside = f"transformer_blocks.{block}."
        attention = inside + "transformer_block.multi_head_attention."
        feed_forward = inside + "transformer_block.feed_forward."
        shapes |= {f"{attention}{name}.weight": (E, E) for name in ("w_Q", "w_K", "w_V", "fc")}
        for part in (attention, feed_forward):
            shapes |= {f"{part}layer_norm.{name}": (E,) for name in ("weight", "bias")}
        shapes |= linear(feed_forward + "w_1", 4 * E, E) | linear(feed_forward + "w_2", E, 4 * E)
        for adapter in ("adapter1", "adapter2"):
            shapes |= linear(f"{inside}{adapter}.fc_down", WIDTH, E)
            shapes |= linear(f"{inside}{adapter}.fc_up", E, WIDTH)
    generator = torch.Generator().manual_seed(0)
    return {
        f"transformer_encoder.{name}": 0.4 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


def linear(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def slow_states(weights: Weights, items: Tensor, real: Tensor, blocks: int) -> Tensor:
    """LN(h + B(h) + x) after attention and feed-forward network, position by position where that matters."""

    def get(name: str) -> Tensor:
        return weights[f"transformer_encoder.{name}"]

    def dense(name: str, z: Tensor) -> Tensor:
        return z @ get(f"{name}.weight").T + get(f"{name}.bias")

    def norm(name: str, z: Tensor) -> Tensor:
        return F.layer_norm(z, (E,), get(f"{name}.weight"), get(f"{name}.bias"), 1e-6)

    x = norm("layer_norm", items + get("position_embedding.weight"))
    visible = torch.ones(L, L).tril().bool() & real[:, None, :]
    for block in range(blocks):
        inside = f"transformer_blocks.{block}."
        attention = inside + "transformer_block.multi_head_attention."
        contexts = []
        for head in range(HEADS):
            part = slice(head * E // HEADS, (head + 1) * E // HEADS)
            query, key, value = (
                (x @ get(f"{attention}{name}.weight").T)[..., part]
                for name in ("w_Q", "w_K", "w_V")
            )
            scores = query @ key.transpose(1, 2) / (E // HEADS) ** 0.5
            contexts.append((scores.masked_fill(~visible, -1e9)).softmax(-1) @ value)
        h = torch.cat(contexts, -1) @ get(f"{attention}fc.weight").T
        bottleneck = inside + "adapter1.fc_"
        h = h + dense(bottleneck + "up", F.relu(dense(bottleneck + "down", h)))
        x = norm(attention + "layer_norm", h + x)
        feed_forward = inside + "transformer_block.feed_forward."
        h = dense(feed_forward + "w_2", F.relu(dense(feed_forward + "w_1", x)))
        bottleneck = inside + "adapter2.fc_"
        h = h + dense(bottleneck + "up", F.relu(dense(bottleneck + "down", h)))
        x = norm(feed_forward + "layer_norm", h + x)
    return x


def golden_user(blocks: int = 3) -> dict[str, np.ndarray]:
    weights = weights_of_user_encoder(blocks)
    trains = [name for name in weights if "adapter" in name]
    for name in trains:
        weights[name].requires_grad_(True)
    items = torch.randn(B, L, E, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    states = slow_states(weights, items, mask.bool(), blocks) * mask.unsqueeze(-1)
    loss = states.square().sum()
    loss.backward()
    meta = {"heads": HEADS, "adapter_activation": "relu", "trainable": trains}
    arrays: dict[str, Any] = {f"weight/{name}": x for name, x in weights.items()}
    arrays |= {f"grad/{name}": weights[name].grad for name in trains}
    arrays |= {"grad/item_embeddings": items.grad, "input/item_embeddings": items}
    arrays |= {"input/log_mask": mask.float(), "output/user_states": states, "output/loss": loss}
    return {
        "meta": np.array(json.dumps(meta)),
        **{name: x.detach().numpy() for name, x in arrays.items()},
    }


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return golden_user()


def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main([str(folder)])
    return status, capsys.readouterr().out.splitlines()


def test_a_file_that_is_reproduced(
    tmp_path: Path, golden: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "adapter4rec_houlsby_user.npz", **golden)
    status, (line,) = said(tmp_path, capsys)
    assert line.startswith("adapter4rec_houlsby_user ok outputs ")
    assert status == 0


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("output/user_states", "outputs user_states"),
        ("grad/item_embeddings", "gradients item_embeddings"),
        ("weight/transformer_encoder.transformer_blocks.2.adapter2.fc_up.bias", "outputs"),
    ],
)
def test_a_number_that_is_off(
    key: str,
    what: str,
    tmp_path: Path,
    golden: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = golden[key].copy()
    changed[..., -1] += 0.01
    np.savez(tmp_path / "adapter4rec_houlsby_user.npz", **(golden | {key: changed}))
    status, (line,) = said(tmp_path, capsys)
    assert line.startswith(f"adapter4rec_houlsby_user off {what}")
    assert status == 1


def test_what_trains_is_compared(
    tmp_path: Path, golden: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    meta = json.loads(str(golden["meta"]))
    meta["trainable"] = [name for name in meta["trainable"] if "adapter2" not in name]
    np.savez(
        tmp_path / "adapter4rec_houlsby_user.npz", **(golden | {"meta": np.array(json.dumps(meta))})
    )
    _, (line,) = said(tmp_path, capsys)
    assert "adapter2.fc_down.bias trains with us alone" in line


def test_other_kinds_and_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mmsr_sum", "somebody_else", "adapter4rec_houlsby_bert"):
        (tmp_path / f"{name}.npz").write_bytes(b"not a golden file")
    status, lines = said(tmp_path, capsys)
    assert lines[0].startswith("adapter4rec_houlsby_bert off ValueError")
    assert lines[1:] == ["mmsr_sum off not supported yet", "somebody_else off of an unknown kind"]
    assert status == 1


def test_a_folder_without_files(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "missing")]) == 2
