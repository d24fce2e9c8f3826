"""Golden files of any shape and seed, computed slowly in float64 from the equations of the adapters and baselines."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from golden_towers import (
    Shapes,
    Sizes,
    Weights,
    bert_shapes,
    bert_states,
    block_shapes,
    causal,
    dense,
    linear,
    normed,
    random,
    sasrec_block,
    user_shapes,
    user_states,
    vit_shapes,
    vit_states,
)
from torch import Tensor

Arrays = dict[str, np.ndarray[Any, Any]]

# The methods: what a place in a layer holds, and what it adds up.


def bottleneck(w: Weights, place: str, z: Tensor) -> Tensor:
    return dense(w, f"{place}fc_up", F.relu(dense(w, f"{place}fc_down", z)))


def kronecker(w: Weights, place: str, z: Tensor) -> Tensor:
    for layer in ("down_sampler", "up_sampler"):
        left, right = w[f"{place}{layer}.W_left"], w[f"{place}{layer}.W_right"]
        factors = zip(w["phm_rule"], left, right, strict=True)
        matrix = torch.stack([torch.kron(rule, a @ b) for rule, a, b in factors]).sum(0)
        z = z @ matrix + w[f"{place}{layer}.b"]
        if layer == "down_sampler":
            z = F.gelu(z, approximate="tanh")
    return z


def bottleneck_shapes(s: Sizes, place: str) -> Shapes:
    return linear(f"{place}fc_down", s.bottleneck, s.width) | linear(
        f"{place}fc_up", s.width, s.bottleneck
    )


def kronecker_shapes(s: Sizes, place: str) -> Shapes:
    shapes: Shapes = {"phm_rule": (s.terms,) * 3}
    for layer, a, b in (
        ("down_sampler", s.width, s.bottleneck),
        ("up_sampler", s.bottleneck, s.width),
    ):
        shapes |= {
            f"{place}{layer}.W_left": (s.terms, a // s.terms, s.rank),
            f"{place}{layer}.W_right": (s.terms, s.rank, b // s.terms),
            f"{place}{layer}.b": (b,),
        }
    return shapes


Form = Callable[[Weights, str, Tensor, Tensor], Tensor]
FORMS: dict[str, tuple[Callable[[Sizes, str], Shapes], Form]] = {
    "houlsby": (bottleneck_shapes, lambda w, at, h, x: h + bottleneck(w, at, h) + x),
    "pfeiffer_ver2": (bottleneck_shapes, lambda w, at, h, x: h + bottleneck(w, at, h) + x),
    "houlsby_parallel": (bottleneck_shapes, lambda w, at, h, x: h + bottleneck(w, at, x) + 2 * x),
    "houlsby_parallel_fixed": (bottleneck_shapes, lambda w, at, h, x: h + bottleneck(w, at, x) + x),
    "compacter": (kronecker_shapes, lambda w, at, h, x: kronecker(w, at, h) + x),
    "compacter_fixed": (kronecker_shapes, lambda w, at, h, x: kronecker(w, at, h) + h + x),
}


def places(s: Sizes, tower: str, at: str, method: str) -> list[str]:
    if tower == "user":
        both = [
            (f"{at}transformer_blocks.{i}.adapter1.", f"{at}transformer_blocks.{i}.adapter2.")
            for i in range(s.layers)
        ]
    else:
        both = [
            (
                f"{at}encoder.layer.{i}.attention.output.adapter.",
                f"{at}encoder.layer.{i}.output.adapter.",
            )
            for i in range(s.layers)
        ]
    if method == "pfeiffer_ver2":
        return [attention for attention, _ in both]
    if method.startswith("houlsby_parallel") and tower == "vit":
        return [feed_forward for _, feed_forward in both]
    return [place for pair in both for place in pair]


def lora_shapes(s: Sizes, names: list[str]) -> Shapes:
    return {
        f"{name}.lora_{factor}": shape
        for name in names
        for factor, shape in (("A", (s.rank, s.width)), ("B", (s.width, s.rank)))
    }


def projections(s: Sizes, tower: str, at: str) -> list[str]:
    inside = {"bert": "attention.self.", "vit": "attention.attention."}
    if tower == "user":
        return [
            f"{at}transformer_blocks.{i}.multi_head_attention.{n}"
            for i in range(s.layers)
            for n in ("w_Q", "w_V")
        ]
    return [
        f"{at}encoder.layer.{i}.{inside[tower]}{n}"
        for i in range(s.layers)
        for n in ("query", "value")
    ]


def side_stack(w: Weights, at: str, tapped: list[Tensor], visible: Tensor, heads: int) -> Tensor:
    carried = torch.zeros(())
    for number, state in enumerate(tapped):
        tap = f"{at}{number}."
        z = state + carried
        x = dense(w, f"{tap}down_project", z)
        block = 0
        while f"{tap}transformer_blocks.{block}.feed_forward.w_1.weight" in w:
            x = sasrec_block(w, f"{tap}transformer_blocks.{block}.", "", x, heads, visible)
            block += 1
        carried = z + dense(w, f"{tap}up_project", x)
    return carried


def side_shapes(s: Sizes, at: str, join: str, taps: int, blocks: int = 1) -> Shapes:
    shapes = linear(join, s.width, 2 * s.width)
    for tap in (f"{at}{number}." for number in range(taps)):
        shapes |= linear(f"{tap}down_project", s.side, s.width)
        shapes |= linear(f"{tap}up_project", s.width, s.side)
        for block in range(blocks):
            shapes |= block_shapes(f"{tap}transformer_blocks.{block}.", s.side)
    return shapes


def inputs_of(s: Sizes, tower: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(s.seed + 1)
    mask = torch.ones(s.items, s.tokens).long()
    if tower == "bert":
        mask[0, s.tokens // 2 :] = 0
        ids = torch.randint(1, s.words, (s.items, s.tokens), generator=generator)
        return {"input_ids": ids, "attention_mask": mask}
    if tower == "vit":
        images = torch.randn(s.items, 3, s.image, s.image, generator=generator)
        return {"pixel_values": images.double()}
    mask[0, : s.tokens // 2] = 0
    return {
        "item_embeddings": torch.randn(s.items, s.tokens, s.width, generator=generator).double(),
        "log_mask": mask.double(),
    }


STATES = {"bert": bert_states, "vit": vit_states, "user": user_states}
SHAPES = {"bert": bert_shapes, "vit": vit_shapes, "user": user_shapes}
INSIDE = {"bert": "", "vit": "vit.", "user": "transformer_encoder."}


def asks_gradients(inputs: dict[str, Tensor]) -> list[Tensor]:
    """Of the inputs: real-valued features."""
    return [x for name, x in inputs.items() if name == "item_embeddings"]


def adapter4rec(method: str, tower: str, s: Sizes) -> Arrays:
    """A file `adapter4rec_{method}_{tower}` of bottlenecks, Kronecker bottlenecks or LoRA."""
    before = "model." if method.startswith("compacter") else ""
    at = before + INSIDE[tower]
    shapes, inner, change = placed(method, tower, s, at)
    trains = list(shapes)
    shapes |= SHAPES[tower](s, at, inner)
    if tower == "vit":
        shapes |= linear(f"{before}classifier", 3, s.width)
    w = random(shapes, s.seed)
    inputs = inputs_of(s, tower)
    for x in (*(w[name] for name in trains), *asks_gradients(inputs)):
        x.requires_grad_(True)

    def added(place: str, h: Tensor, x: Tensor) -> Tensor:
        return change(w, place, h, x) if change else h + x

    states = STATES[tower](w, at, *inputs.values(), heads=s.heads, inner=inner, change=added)  # type: ignore[operator]
    outputs = outputs_of(w, tower, states, inputs, at, f"{before}classifier")
    meta = {"heads": s.heads, "scaling": 1 / s.rank, "adapter_activation": "relu"}
    if method.startswith("compacter"):
        meta["adapter_activation"] = "gelu_new (tanh approximation)"
    return written(meta, w, inputs, outputs, trains)


def placed(method: str, tower: str, s: Sizes, at: str) -> tuple[Shapes, str, Form | None]:
    """The shapes of what a method adds, the name that its wrapper inserts, and what a place adds up."""
    if method == "lora":
        return lora_shapes(s, projections(s, tower, at)), "", None
    shapes_of, form = FORMS[method]
    held = places(s, tower, at, method)
    shapes: Shapes = {}
    for place in held:
        shapes |= shapes_of(s, place)

    def change(w: Weights, place: str, h: Tensor, x: Tensor) -> Tensor:
        return form(w, place, h, x) if place in held else h + x

    return shapes, "transformer_block." if tower == "user" else "self_output.", change


def outputs_of(
    w: Weights, tower: str, states: list[Tensor], inputs: dict[str, Tensor], at: str, head: str
) -> dict[str, Tensor]:
    """The outputs of a file, the loss last: the sum of squares of the first."""
    if tower == "vit":
        final = normed(w, f"{at}layernorm", states[-1], eps=1e-12)[:, 0]
        outputs = {"logits": dense(w, head, final), "hidden_states": torch.stack(states)}
    elif tower == "bert":
        mask = inputs["attention_mask"].unsqueeze(-1)
        outputs = {
            "last_hidden_state": states[-1] * mask,
            "hidden_states": torch.stack(states) * mask,
        }
    else:
        outputs = {"user_states": states[-1] * inputs["log_mask"].unsqueeze(-1)}
    return outputs | {"loss": next(iter(outputs.values())).square().sum()}


def k_adapter_bert(s: Sizes, *, masked: bool) -> Arrays:
    """A file `adapter4rec_kadapter_masked_bert`; without the mask the published form."""
    at = "bert_model."
    shapes = side_shapes(s, "bert_adapter_list.", "com_dense", taps=2)
    w = random(shapes | bert_shapes(s, at, ""), s.seed)
    for name in shapes:
        w[name].requires_grad_(True)
    inputs = inputs_of(s, "bert")
    states = bert_states(w, at, *inputs.values(), heads=s.heads, inner="")
    visible = (inputs["attention_mask"] != 0)[:, None, :].expand(-1, s.tokens, -1)
    seen = visible if masked else torch.ones_like(visible)
    side = side_stack(w, "bert_adapter_list.", [states[1], states[-1]], seen, heads=2)
    joined = dense(w, "com_dense", torch.cat([states[-1], side], -1))
    outputs = outputs_of(w, "bert", [joined], inputs, at, "")
    outputs["hidden_states"] = torch.stack(states) * inputs["attention_mask"].unsqueeze(-1)
    meta = {"heads": s.heads, "layers": s.layers, "layers_tapped": [0, s.layers - 1]}
    return written(meta | side_meta(s), w, inputs, outputs, list(shapes))


def k_adapter_user(s: Sizes) -> Arrays:
    """A file `adapter4rec_kadapter_causal_user`: every block's input is tapped."""
    at, stack = "transformer_encoder.", "transformer_encoder.transformer_blocks.adapter_list."
    join = f"{at}transformer_blocks.com_dense2"
    shapes = side_shapes(s, stack, join, taps=s.layers)
    w = random(shapes | user_shapes(s, at, ""), s.seed)
    for name in shapes:
        w[name].requires_grad_(True)
    inputs = inputs_of(s, "user")
    for x in asks_gradients(inputs):
        x.requires_grad_(True)
    states = user_states(w, at, *inputs.values(), heads=s.heads, inner="")
    side = side_stack(w, stack, states[:-1], causal(inputs["log_mask"]), heads=2)
    joined = dense(w, join, torch.cat([states[-1], side], -1))
    outputs = outputs_of(w, "user", [joined], inputs, at, "")
    deeper = {  # the published blocks lie one name deeper
        name: name if name in shapes else name.replace("blocks.", "blocks.transformer_blocks.", 1)
        for name in w
    }
    meta = {"heads": s.heads, "blocks": s.layers, **side_meta(s)}
    named = {deeper[name]: x for name, x in w.items()}
    return written(meta, named, inputs, outputs, list(shapes))


def side_meta(s: Sizes) -> dict[str, int]:
    return {"adapter_hidden": s.side, "adapter_heads": 2, "adapter_blocks": 1}


VIT_AT = "mm_encoder.cv_encoder.image_net."
BERT_AT = "mm_encoder.bert_encoder.text_encoders.title."


def iisan(method: str, s: Sizes, *, embedding: int = 12, length: int = 5) -> Arrays:
    """A file `iisan_{method}`: both encoders, their heads, SASRec and the in-batch softmax."""
    towers = {"vit": f"{VIT_AT}vit.", "bert": f"{BERT_AT}bert_model."}
    form = {"adapter": "houlsby", "lora": "lora"}.get(method, "")
    base, added = {}, {}
    changes: dict[str, Form | None] = {}
    inner = "self_output." if method == "adapter" else ""
    for tower, at in towers.items():
        base |= SHAPES[tower](s, at, inner)
        shapes, _, changes[tower] = placed(form, tower, s, at) if form else ({}, "", None)
        added |= shapes
    heads = linear(f"{VIT_AT}classifier", embedding, s.width)
    heads |= linear(f"{BERT_AT}fc", embedding, s.width) | linear(
        "com_dense", embedding, 2 * embedding
    )
    small = Sizes(tokens=length, width=embedding, layers=2)
    user = user_shapes(small, "user_encoder.transformer_encoder.", "")
    pooler = linear(f"{towers['bert']}pooler.dense", s.width, s.width)
    w = random(base | pooler | added | heads | user, s.seed)
    biases = [name for name in base if name.endswith("bias")]
    replaced = [f"{name}.bias" for t, at in towers.items() for name in projections(s, t, at)]
    own = {"fft": list(base), "bitfit": biases, "lora": replaced, "adapter": []}[method]
    trains = [*own, *added, *heads, *user]
    for name in trains:
        w[name].requires_grad_(True)

    generator = torch.Generator().manual_seed(s.seed + 2)
    items = 9
    ids = torch.stack(
        [torch.randperm(items, generator=generator)[: length + 1] + 1 for _ in range(3)]
    )
    ids[0, :2] = 0
    mask = torch.ones(items + 1, s.tokens).long()
    mask[0, 1:] = mask[3, 2:] = 0
    popularity = torch.rand(items + 1, generator=generator).double().float().double() + 0.1
    inputs = {
        "item_text_ids": torch.randint(1, s.words, mask.shape, generator=generator),
        "item_text_mask": mask,
        "item_images": torch.randn(items + 1, 3, s.image, s.image, generator=generator).double(),
        "item_ids": ids,
        "log_mask": (ids[:, :-1] != 0).double(),
        "pop_prob": popularity.float().double(),
    }
    last = {}
    for tower, given in (("vit", ["item_images"]), ("bert", ["item_text_ids", "item_text_mask"])):
        form_of = changes[tower]

        def change(place: str, h: Tensor, x: Tensor, form_of: Form | None = form_of) -> Tensor:
            return form_of(w, place, h, x) if form_of else h + x

        options: dict[str, Any] = {"heads": s.heads, "inner": inner, "change": change}
        last[tower] = STATES[tower](w, towers[tower], *(inputs[n] for n in given), **options)[-1]  # type: ignore[operator]
    final = normed(w, f"{towers['vit']}layernorm", last["vit"], eps=1e-12)
    image = F.gelu(dense(w, f"{VIT_AT}classifier", final[:, 0]))
    text = F.gelu(dense(w, f"{BERT_AT}fc", last["bert"][:, 0]))
    item = dense(w, "com_dense", torch.cat([image, text], 1))
    at = "user_encoder.transformer_encoder."
    states = user_states(w, at, item[ids[:, :-1]], inputs["log_mask"], heads=small.heads, inner="")[
        -1
    ]
    slots = ids.flatten()
    outputs = {
        "image_embedding": image[slots],
        "text_embedding": text[slots],
        "item_embedding": item[slots],
        "user_states": states * inputs["log_mask"].unsqueeze(-1),
        "loss": in_batch_loss(states, item, ids, inputs["pop_prob"]),
    }
    meta = {
        "method": method,
        "heads_encoder": s.heads,
        "user_heads": small.heads,
        "layer_norm_eps_encoders": 1e-12,
        "bottleneck_or_rank": s.rank if method == "lora" else s.bottleneck,
        "lora_scaling": 1 / s.rank if method == "lora" else None,
        "exactly_zero_grads": [n for n in trains if "key.bias" in n],
    }
    return written(meta, w, inputs, outputs, trains)


def in_batch_loss(states: Tensor, item: Tensor, ids: Tensor, popularity: Tensor) -> Tensor:
    """Row by row: every slot is a column but padding and the row's other items."""
    slots, losses = ids.flatten(), []
    for user, row in enumerate(ids):
        for position in range(len(row) - 1):
            if row[position] == 0:
                continue
            logits = item[slots] @ states[user, position] - popularity[slots].log()
            target = user * len(row) + position + 1
            hidden = (slots == 0) | torch.isin(slots, row)
            hidden[target] = False
            losses.append(F.cross_entropy(logits.masked_fill(hidden, -1e4), torch.tensor(target)))
    return torch.stack(losses).mean()


def two_stage(s: Sizes, *, features: int = 10, layers: int = 3) -> Arrays:
    """A file `morec_two_stage`."""
    shapes = linear("fc.fc", s.width, features)
    for layer in range(layers):  # dropout, linear, GELU
        shapes |= linear(f"fc.mlp_layers.{3 * layer + 1}", s.width, s.width)
    at = "user_encoder.transformer_encoder."
    w = random(shapes | user_shapes(s, at, ""), s.seed)
    for x in w.values():
        x.requires_grad_(True)
    generator = torch.Generator().manual_seed(s.seed + 3)
    items = 11
    ids = torch.randint(1, items + 1, (4, s.tokens + 1), generator=generator)
    ids[1, :3] = 0
    drawn = torch.randint(1, items + 1, ids.shape, generator=generator) * (ids != 0)
    inputs = {
        "features": torch.randn(items + 1, features, generator=generator).double(),
        "item_ids": ids,
        "negative_ids": drawn,
        "log_mask": (ids[:, :-1] != 0).double(),
    }
    item = F.gelu(dense(w, "fc.fc", inputs["features"]))
    for layer in range(layers):
        item = F.gelu(dense(w, f"fc.mlp_layers.{3 * layer + 1}", item))
    states = user_states(w, at, item[ids[:, :-1]], inputs["log_mask"], heads=s.heads, inner="")[-1]
    real = inputs["log_mask"].bool()
    positive, negative = ((states * item[x]).sum(-1)[real] for x in (ids[:, 1:], drawn[:, :-1]))
    loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
    outputs = {"loss": loss, "item_embeddings": item, "scores": states[:, -1] @ item.T}
    return written({"heads": s.heads}, w, inputs, outputs, list(w))


def id_plus_modality(form: str, s: Sizes) -> Arrays:
    """A file `morec_id_plus_modality_{form}`."""
    shapes = linear("mlp_layers.1", s.width, 2 * s.width) if form == "cat" else {}
    w = random(shapes, s.seed)
    parts = random({name: (s.items, s.width) for name in ("id", "content")}, s.seed + 1)
    for x in (*w.values(), *parts.values()):
        x.requires_grad_(True)
    fused = parts["id"] + parts["content"]
    if form == "cat":
        fused = F.gelu(dense(w, "mlp_layers.1", torch.cat([parts["id"], parts["content"]], 1)))
    arrays = written({}, w, parts, {"fused": fused, "objective": fused.square().sum()}, list(w))
    return {k.replace("grad/id", "grad/input.id").replace("grad/content", "grad/input.content"): x
            for k, x in arrays.items()}  # fmt: skip


def written(
    meta: dict[str, Any],
    w: Weights,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    trains: list[str],
) -> Arrays:
    """The arrays of a file in float32, with the gradients of the loss."""
    next(x for name, x in outputs.items() if name in ("loss", "objective")).backward()  # type: ignore[no-untyped-call]
    arrays = {f"weight/{name}": x for name, x in w.items()}
    arrays |= {f"input/{name}": x for name, x in inputs.items()}
    arrays |= {f"output/{name}": x for name, x in outputs.items()}
    leaves = {name: w[name] for name in trains} | inputs
    arrays |= {f"grad/{name}": x.grad for name, x in leaves.items() if x.grad is not None}
    numbers = {
        name: x.detach().float() if x.is_floating_point() else x for name, x in arrays.items()
    }
    said = {"meta": np.array(json.dumps(meta | {"trainable": trains}))}
    return said | {name: x.numpy() for name, x in numbers.items()}
