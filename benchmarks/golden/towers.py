"""Encoders of the shapes of a golden file, adapted by our methods, with the file's weights and loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, ViTConfig, ViTModel

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.names import BERT, USER, VIT, our_names
from models.adaptation import adapt
from models.adaptation.k_adapter import JoinedRun
from models.adaptation.prompts import PromptedRun
from models.sequence import SASRec
from toolkit.backbones import Encoder, EncoderSpec, Hidden, Network

Change = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Method:
    """How a golden file's method is called with us.

    Args:
        name: of the method.
        settings: of it.
        change: what the published form does differently, to an encoder that is adapted.
        note: says so.
        names: our names of weights whose public name does not tell the method.
    """

    name: str
    settings: Any = None
    change: Change | None = None
    note: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenInputs:
    """A preparation that returns the tensors of a golden file, whatever it is asked for."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def read(self, payloads: Sequence[Any]) -> list[Any]:
        """Nothing is read."""
        return list(payloads)

    def lengths(self, read: Sequence[Any]) -> None:
        """Not asked for."""
        return None

    def collate(self, read: Sequence[Any]) -> dict[str, Tensor]:
        """The tensors of the file."""
        return self.tensors


def bert_model(weights: dict[str, Tensor], *, heads: int, eps: float = 1e-12) -> BertModel:
    """BERT of the shapes of weights under our names, `model.` before each."""
    embeddings = {
        key: next(x for name, x in weights.items() if f"{key}_embeddings." in name and x.ndim == 2)
        for key in ("word", "position", "token_type")
    }
    config = BertConfig(
        vocab_size=_rows(weights, "word_embeddings.", embeddings["word"]),
        hidden_size=embeddings["word"].shape[1],
        num_hidden_layers=count(weights, "model.encoder.layer."),
        num_attention_heads=heads,
        intermediate_size=weights["model.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=embeddings["position"].shape[0],
        type_vocab_size=embeddings["token_type"].shape[0],
        layer_norm_eps=eps,
        pad_token_id=0,
    )
    return BertModel(config)


def _rows(weights: dict[str, Tensor], part: str, default: Tensor) -> int:
    """Rows of the largest table of a name: a soft prompt may lie beside it."""
    return max([x.shape[0] for name, x in weights.items() if part in name] or [default.shape[0]])


def vit_model(
    weights: dict[str, Tensor], images: Tensor, *, heads: int, eps: float = 1e-12
) -> ViTModel:
    """ViT of the shapes of weights under our names, for images (B, channels, height, width)."""
    patches = next(x for name, x in weights.items() if name.endswith("projection.weight"))
    config = ViTConfig(
        hidden_size=patches.shape[0],
        num_hidden_layers=count(weights, "model.layers."),
        num_attention_heads=heads,
        intermediate_size=weights["model.layers.0.mlp.fc1.weight"].shape[0],
        image_size=tuple(images.shape[2:]),
        patch_size=tuple(patches.shape[2:]),
        num_channels=patches.shape[1],
        layer_norm_eps=eps,
    )
    return ViTModel(config)


def as_encoder(
    model: nn.Module, inputs: dict[str, Tensor], *, source: str, final_norm: bool = False
) -> Encoder:
    """An `Encoder` around a model of transformers.

    Args:
        model: of transformers.
        inputs: what its preparation returns.
        source: of the items.
        final_norm: whether the last state after a ViT's final norm counts as one more state.
    """
    config: Any = model.config
    network = Network(
        model=model,
        preparation=GivenInputs(inputs),
        run=_run_normed if final_norm else _run,
        depth=config.num_hidden_layers + final_norm,
        width=config.hidden_size,
    )
    return Encoder(network, EncoderSpec(encoder="golden", source=source)).eval()


def _run(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    states = model(**inputs, output_hidden_states=True).hidden_states
    return Hidden(states, inputs.get("attention_mask"))


def _run_normed(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    states, mask = _run(model, inputs)
    return Hidden((*states, model.layernorm(states[-1])), mask)


def run_bert(golden: Golden, method: Method) -> Ours:
    """A BERT: the loss is the sum of squares of the last states of unpadded tokens."""
    names = our_names(golden.weights, BERT) | dict(method.names)
    weights = {names[name]: x for name, x in golden.weights.items()}
    model = bert_model(weights, heads=golden.meta["heads"], eps=_eps(golden))
    encoder = as_encoder(model, dict(golden.inputs), source="title")
    trains = _adapt(encoder, method)
    load(encoder, weights)
    hidden = _all_states(encoder)
    mask = golden.inputs["attention_mask"].unsqueeze(-1)
    if extra := hidden.states[-1].shape[1] - mask.shape[1]:  # learned tokens come first
        mask = torch.cat([mask.new_ones(len(mask), extra, 1), mask], dim=1)
    last = hidden.states[-1]
    zeroed = last * mask
    outputs = {"last_hidden_state": zeroed, "loss": zeroed.square().sum()}
    if "hidden_states" in golden.outputs:
        # The published zeroing at padding is of every state; K-Adapter's join is not one of the layers.
        outputs["hidden_states"] = torch.stack([x * mask for x in _layer_states(encoder, hidden)])
    return finish(golden, encoder, outputs, names, trains, method)


def _all_states(encoder: Encoder) -> Hidden:
    """The hidden states, those of learned tokens too."""
    run: Any = encoder.run.whole if isinstance(encoder.run, PromptedRun) else encoder.run
    hidden: Hidden = run(encoder.model, encoder.prepare(["golden"]).tensors)
    return hidden


def _layer_states(encoder: Encoder, hidden: Hidden) -> list[Tensor]:
    """The layers' own states, the last of them before K-Adapter's join."""
    if not isinstance(encoder.run, JoinedRun):
        return list(hidden.states)
    with torch.no_grad():
        return list(encoder.run.run(encoder.model, encoder.prepare(["golden"]).tensors).states)


def run_llama(golden: Golden, method: Method) -> Ours:
    """A LLaMA with as many heads of keys and values as of queries."""
    weights = {f"model.{plain(name)}": x for name, x in golden.weights.items()}
    names = {name: f"model.{plain(name)}" for name in golden.weights}
    table = weights["model.embed_tokens.weight"]
    config = LlamaConfig(
        vocab_size=table.shape[0],
        hidden_size=table.shape[1],
        num_hidden_layers=count(weights, "model.layers."),
        num_attention_heads=golden.meta["heads"],
        num_key_value_heads=golden.meta["heads"]
        * weights["model.layers.0.self_attn.k_proj.weight"].shape[0]
        // table.shape[1],
        intermediate_size=weights["model.layers.0.mlp.up_proj.weight"].shape[0],
        pad_token_id=0,
    )
    encoder = as_encoder(LlamaModel(config), dict(golden.inputs), source="title")
    trains = _adapt(encoder, method)
    load(encoder, weights)
    last = _all_states(encoder).states[-1] * golden.inputs["attention_mask"].unsqueeze(-1)
    outputs = {"last_hidden_state": last, "loss": last.square().sum()}
    return finish(golden, encoder, outputs, names, trains, method)


def run_vit(golden: Golden, method: Method) -> Ours:
    """A ViT: the loss is the sum of squares of logits of the final norm's class token, or of the final states."""
    names = our_names(golden.weights, VIT)
    weights = {names[name]: x for name, x in golden.weights.items()}
    images = golden.inputs["pixel_values"]
    model = vit_model(weights, images, heads=golden.meta["heads"], eps=_eps(golden))
    joins = method.name == "k-adapter"  # before the final norm
    encoder = as_encoder(model, dict(golden.inputs), source="cover", final_norm=not joins)
    trains = _adapt(encoder, method)
    if "head.weight" in weights:
        trains |= _add_head(encoder, weights, trains="classifier.weight" in golden.gradients)
    load(encoder, weights)
    hidden = _all_states(encoder)
    final = model.layernorm(hidden.states[-1]) if joins else hidden.states[-1]
    if "head.weight" in weights:
        logits = encoder.head(final[:, 0])  # type: ignore[operator]
        outputs = {"logits": logits, "loss": logits.square().sum()}
        states = _layer_states(encoder, hidden)
        outputs["hidden_states"] = torch.stack(states if joins else states[:-1])
    else:
        outputs = {"last_hidden_state": final, "loss": final.square().sum()}
    return finish(golden, encoder, outputs, names, trains, method)


def _add_head(encoder: nn.Module, weights: dict[str, Tensor], *, trains: bool) -> set[str]:
    """Adds a classifier, and names what of it trains."""
    head = nn.Linear(*reversed(weights["head.weight"].shape)).requires_grad_(trains)
    encoder.add_module("head", head)
    return {"head.weight", "head.bias"} if trains else set()


def run_user(golden: Golden, method: Method) -> Ours:
    """A user encoder: the loss is the sum of squares of the states at unpadded positions."""
    names = our_names(golden.weights, USER)
    weights = {names[name]: x for name, x in golden.weights.items()}
    encoder = sasrec(weights, heads=golden.meta["heads"]).eval()
    trains = _adapt(encoder, method)
    load(encoder, weights)
    items = golden.inputs["item_embeddings"].clone().requires_grad_(True)
    mask = golden.inputs["log_mask"]
    states = encoder(items, mask != 0) * mask.unsqueeze(-1)
    outputs = {"user_states": states, "loss": states.square().sum()}
    ours = finish(golden, encoder, outputs, names, trains, method)
    ours.gradients["item_embeddings"] = items.grad
    return ours


def sasrec(weights: dict[str, Tensor], *, heads: int) -> SASRec:
    """SASRec of the shapes of weights under our names."""
    length, width = weights["positions.weight"].shape
    return SASRec(
        embedding_dim=width,
        max_len=length,
        heads=heads,
        blocks=count(weights, "blocks."),
        dropout=0.0,
    )


def count(weights: dict[str, Tensor], before: str) -> int:
    """How many numbers follow a start of the names of weights."""
    return len({name[len(before) :].split(".")[0] for name in weights if name.startswith(before)})


def finish(
    golden: Golden,
    encoder: nn.Module,
    outputs: dict[str, Tensor],
    names: dict[str, str],
    trains: set[str],
    method: Method,
) -> Ours:
    """Takes the gradients of the loss, under the file's names."""
    outputs["loss"].backward()
    gradients = {plain(name): x.grad for name, x in encoder.named_parameters()}
    trained = {plain(name) for name in trains}
    found = {}
    for name, theirs in golden.gradients.items():
        mine = gradients.get(names.get(name, ""))
        same_size = mine is not None and mine.numel() == theirs.numel()
        found[name] = mine.reshape(theirs.shape) if mine is not None and same_size else mine
    return Ours(
        outputs,
        found,
        {name for name, ours in names.items() if ours in trained},
        [method.note] if method.note else [],
    )


def load(encoder: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads weights under our names. What a file lacks keeps its start, poolers above all.

    Raises:
        KeyError: if a weight has no place.
    """
    places = {plain(name): x for name, x in encoder.named_parameters()}
    with torch.no_grad():
        for name, x in weights.items():
            if name not in places:
                if name.startswith("unused.") or "pooler" in name or not x.any():
                    continue  # such as a bias that the published wiring adds and the file sets to zero
                raise KeyError(f"no place for {name}")
            places[name].copy_(x.reshape(places[name].shape))


def plain(name: str) -> str:
    """A parameter's name without what peft puts in."""
    return name.replace("base_layer.", "")


def _adapt(encoder: nn.Module, method: Method) -> set[str]:
    """Adapts an encoder, and names what trains."""
    adapt(encoder, method.name, method.settings)
    if method.change is not None:
        method.change(encoder)
    encoder.double()  # what a method adds is float32
    return {name for name, x in encoder.named_parameters() if x.requires_grad}


def _eps(golden: Golden) -> float:
    return float(golden.meta.get("layer_norm_eps", 1e-12))
