"""`python -m benchmarks.parity` on fusions, written here from the equations with other shapes than the public files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity import main

U, E, INNER, HEADS, LAYERS, SCALE = 5, 6, 9, 3, 2, 0.7
WORDS, PATCHES = 4, 2
Public = dict[str, Tensor]


def random(*shape: int, generator: torch.Generator) -> Tensor:
    return (SCALE * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def linear(w: Public, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w: Public, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, (E,), w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attend(w: Public, name: str, inside: str, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The published mask: -10000 added to the scores at padding."""
    query, key, value = (
        linear(w, f"{name}.{inside}.{part}", one).view(U, -1, HEADS, E // HEADS).transpose(1, 2)
        for part, one in (("query", x), ("key", y), ("value", y))
    )
    scores = query @ key.transpose(2, 3) / (E / HEADS) ** 0.5 - 10000 * (1 - mask)[:, None, None]
    read = (scores.softmax(-1) @ value).transpose(1, 2).reshape(U, -1, E)
    return norm(w, f"{name}.output.LayerNorm", linear(w, f"{name}.output.dense", read) + x, 1e-12)


def feed(w: Public, inner: str, output: str, x: Tensor) -> Tensor:
    found = linear(w, f"{output}.dense", F.gelu(linear(w, f"{inner}.dense", x)))
    return norm(w, f"{output}.LayerNorm", found + x, 1e-12)


def mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def film(w: Public, given: Public) -> Tensor:
    """Two layers after it."""
    x, y = (norm(w, "layer_norm", given[name], 1e-6) for name in ("text", "image"))
    gamma, beta = linear(w, "fc", x).split(E, 1)
    found = linear(w, "fc_out", gamma * y + beta)
    for layer in (1, 4):
        found = linear(w, f"dnn.MLPlayer.{layer}", found).relu()
    return found


def co_attention(w: Public, given: Public) -> Tensor:
    types = w["token_type_embeddings.weight"]
    x, y = given["text_tokens"] + types[0], given["image_tokens"] + types[1]
    real, every = given["text_mask"], torch.ones(U, PATCHES, dtype=torch.float64)
    for n in range(LAYERS):
        layer = f"CoAtt_layers.{n}"
        cross = f"{layer}.visual_attention"
        x, y = attend(w, cross, "att", x, y, every), attend(w, cross, "att", y, x, real)
        x = attend(w, f"{layer}.lang_self_att", "self", x, x, real)
        y = attend(w, f"{layer}.visn_self_att", "self", y, y, every)
        x, y = (
            feed(w, f"{layer}.{name}_inter", f"{layer}.{name}_output", one)
            for name, one in (("lang", x), ("visn", y))
        )
    return linear(w, "fc_out", torch.cat([mean(x, real), mean(y, every)], 1))


def merge_attention(w: Public, given: Public) -> Tensor:
    x = torch.cat([given["text_tokens"], given["image_tokens"]], 1)
    mask = torch.cat([given["text_mask"], torch.ones(U, PATCHES, dtype=torch.float64)], 1)
    for n in range(LAYERS):
        layer = f"MergeAtt_layers.{n}"
        x = attend(w, f"{layer}.self_att", "self", x, x, mask)
        x = feed(w, f"{layer}.inter", f"{layer}.output", x)
    return mean(x, mask)


def _attention(name: str, inside: str) -> dict[str, tuple[int, ...]]:
    parts = [f"{name}.{inside}.{part}" for part in ("query", "key", "value")]
    shapes: dict[str, tuple[int, ...]] = {}
    for part in (*parts, f"{name}.output.dense"):
        shapes |= {f"{part}.weight": (E, E), f"{part}.bias": (E,)}
    return shapes | _norm(f"{name}.output.LayerNorm")


def _feed(inner: str, output: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{inner}.dense.weight": (INNER, E), f"{inner}.dense.bias": (INNER,),
        f"{output}.dense.weight": (E, INNER), f"{output}.dense.bias": (E,), **_norm(f"{output}.LayerNorm"),
    }  # fmt: skip


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (E,), f"{name}.bias": (E,)}


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """The public weights of a file."""
    shapes: dict[str, tuple[int, ...]] = {}
    if name == "mmsr_film_dnn":
        shapes = {"fc.weight": (2 * E, E), "fc.bias": (2 * E,), **_norm("layer_norm")}
        for layer in ("fc_out", "dnn.MLPlayer.1", "dnn.MLPlayer.4"):
            shapes |= {f"{layer}.weight": (E, E), f"{layer}.bias": (E,)}
        return shapes
    for n in range(LAYERS):
        if name == "mmsr_co_att":
            layer = f"CoAtt_layers.{n}"
            shapes |= _attention(f"{layer}.visual_attention", "att")
            for tower in ("lang", "visn"):
                shapes |= _attention(f"{layer}.{tower}_self_att", "self")
                shapes |= _feed(f"{layer}.{tower}_inter", f"{layer}.{tower}_output")
        else:
            layer = f"MergeAtt_layers.{n}"
            shapes |= _attention(f"{layer}.self_att", "self")
            shapes |= _feed(f"{layer}.inter", f"{layer}.output")
    shapes["token_type_embeddings.weight"] = (2, E)
    if name == "mmsr_co_att":
        shapes |= {"fc_out.weight": (E, 2 * E), "fc_out.bias": (E,)}
    return shapes


FILES: dict[str, Callable[[Public, Public], Tensor]] = {
    "mmsr_film_dnn": film,
    "mmsr_co_att": co_attention,
    "mmsr_merge_attn": merge_attention,
}


def golden(name: str) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(8)
    weights = {n: random(*s, generator=generator) for n, s in shapes_of(name).items()}
    given: Public = {}
    if name == "mmsr_film_dnn":
        given = {part: random(U, E, generator=generator) for part in ("text", "image")}
    else:
        tokens = {"text": WORDS, "image": PATCHES}
        given = {f"{n}_tokens": random(U, s, E, generator=generator) for n, s in tokens.items()}
        real = torch.arange(WORDS) < torch.tensor([4, 1, 2, 3, 4])[:, None]
        given["text_mask"] = real.double()
    item = FILES[name](weights, given)
    loss = item.square().sum()
    loss.backward()
    leaves = {**weights, **{n: x for n, x in given.items() if x.requires_grad}}
    arrays: dict[str, Any] = {f"weight/{n}": x for n, x in weights.items()}
    arrays |= {f"input/{n}": x if x.requires_grad else x.long() for n, x in given.items()}
    arrays |= {f"grad/{n}": x.grad for n, x in leaves.items() if x.grad is not None}
    arrays |= {"output/item": item, "output/loss": loss}
    keys = [n for n in weights if n.endswith("key.bias")]
    meta = {"heads": HEADS, "exactly_zero_grads": keys, "token_type_used": name == "mmsr_co_att"}
    found = {key: x.detach().numpy() for key, x in arrays.items()}
    return {"meta": np.array(json.dumps(meta)), **found}


@pytest.mark.parametrize("name", FILES)
def test_a_fusion_of_other_shapes_is_reproduced(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / f"{name}.npz", **golden(name))  # type: ignore[arg-type]
    main([str(tmp_path)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{name} ok outputs "), line
    errors = [float(word) for word in line.split() if "e-" in word]
    assert len(errors) == 2 and max(errors) < 1e-11


def test_a_number_that_is_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = golden("mmsr_co_att")
    arrays["weight/CoAtt_layers.1.visn_inter.dense.bias"][0] += 0.1
    np.savez(tmp_path / "mmsr_co_att.npz", **arrays)  # type: ignore[arg-type]
    main([str(tmp_path)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("mmsr_co_att off outputs item ")
