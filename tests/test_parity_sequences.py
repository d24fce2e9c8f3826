"""`python -m benchmarks.parity` on training steps of sequence encoders, written here with other shapes than the public files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity import main

B, L, N, E, WIDTH = 4, 5, 17, 6, 9


def step_of_gru4rec(variant: bool) -> dict[str, np.ndarray]:
    """Two GRU layers and BCE; or one layer of another width, a linear layer, and BPR summed over each user's positions."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return (0.5 * torch.randn(shape, generator=generator)).requires_grad_(True)

    width, layers = (WIDTH, 1) if variant else (E, 2)
    gru = nn.GRU(E, width, layers, bias=False, batch_first=True)
    weights = {f"gru_layers.{name}": random(*x.shape) for name, x in gru.named_parameters()}
    weights |= {"dense.weight": random(E, WIDTH), "dense.bias": random(E)} if variant else {}
    table = random(N + 1, E)
    ids = torch.randint(1, N + 1, (B, L + 1), generator=generator)
    ids[0, :2], ids[1, :4] = 0, 0
    negatives = torch.randint(1, N + 1, (B, L + 1), generator=generator)
    real = ids[:, :-1] != 0

    def states_of(inputs: Tensor) -> Tensor:
        given = {
            name.removeprefix("gru_layers."): x for name, x in weights.items() if "gru" in name
        }
        states, _ = torch.func.functional_call(gru, given, (F.embedding(inputs, table, 0),))
        return states @ weights["dense.weight"].T + weights["dense.bias"] if variant else states

    states = states_of(ids[:, :-1])
    drawn = negatives[:, 1:] if variant else negatives[:, :-1]
    positive, negative = ((states * table[items]).sum(2)[real] for items in (ids[:, 1:], drawn))
    loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
    if variant:
        loss = -F.logsigmoid(positive - negative).sum() / B
    loss.backward()
    name = "item_embedding.weight" if variant else "id_embedding.weight"
    inside = "" if variant else "user_encoder."
    named = {f"{inside}{key}": x for key, x in weights.items()} | {name: table}
    arrays: dict[str, Any] = {f"weight/{key}": x for key, x in named.items()}
    arrays |= {f"grad/{key}": x.grad for key, x in named.items()}
    arrays |= {
        "input/item_ids": ids,
        "input/negative_ids": negatives,
        "input/log_mask": real.float(),
    }
    arrays |= {"output/loss": loss, "output/scores": states[:, -1] @ table.T}
    meta = np.array(json.dumps({"items": N, "heads": 2}))
    return {"meta": meta, **{key: x.detach().numpy() for key, x in arrays.items()}}


FILES = {"ninerec_id_gru4rec": False, "ninerec_variant_gru4rec": True}


def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    main([str(folder)])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", FILES)
def test_a_step_is_reproduced(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = step_of_gru4rec(FILES[name])
    np.savez(tmp_path / f"{name}.npz", **golden)
    (line,) = said(tmp_path, capsys)
    assert line.startswith(f"{name} ok outputs ")


@pytest.mark.parametrize("key", ["output/scores", "grad/id_embedding.weight", "input/negative_ids"])
def test_a_number_that_is_off(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = step_of_gru4rec(False)
    golden[key] = golden[key] + 1 if key.startswith("input") else golden[key] + 0.01
    golden[key] = np.minimum(golden[key], N) if key.startswith("input") else golden[key]
    np.savez(tmp_path / "ninerec_id_gru4rec.npz", **golden)
    (line,) = said(tmp_path, capsys)
    assert line.startswith("ninerec_id_gru4rec off ")
