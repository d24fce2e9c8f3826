"""Which of our methods, with which settings, a golden file of adapters stands for."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.towers import Method, run_bert, run_llama, run_user, run_vit
from models.adaptation.bottlenecks import (
    Activation,
    HoulsbySettings,
    ParallelSettings,
    PfeifferSettings,
)
from models.adaptation.compacter import CompacterSettings
from models.adaptation.k_adapter import Attention, KAdapterSettings
from models.adaptation.low_rank import DoraSettings, Layers, LoraSettings
from models.adaptation.prompts import PrefixSettings, PromptSettings

Chooser = Callable[[Golden], Method]
_ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "swish": "silu",
    "silu": "silu",
    "gelu_new": "gelu-tanh",
    "gelu_new (tanh approximation)": "gelu-tanh",
}
_RUNS = {"bert": run_bert, "llama": run_llama, "vit": run_vit, "user": run_user}


def run_adapters(golden: Golden, chooser: Chooser) -> Ours:
    """Runs a file of adapters in the tower that its inputs show."""
    if "item_embeddings" in golden.inputs:
        tower = "user"
    elif "embed_tokens.weight" in golden.weights:
        tower = "llama"
    else:
        tower = "vit" if "pixel_values" in golden.inputs else "bert"
    return _RUNS[tower](golden, chooser(golden))


def _width(golden: Golden) -> int:
    """Of the bottlenecks; where they are Kronecker layers, as many as the bias has."""
    for name, x in golden.weights.items():
        if "adapter" in name and ("down" in name) and name.endswith((".bias", ".b")):
            return x.shape[0]
    raise ValueError("the file has no bottleneck")


def _activation(golden: Golden) -> Activation:
    name = golden.meta.get("adapter_activation") or golden.meta["config"]["non_linearity"]
    return _ACTIVATIONS[name]


def _norms(golden: Golden) -> bool:
    trainable = golden.meta["trainable"]
    return any("layernorm" in name.lower() or "layer_norm" in name for name in trainable)


def houlsby(golden: Golden) -> Method:
    """Also what Adapter4Rec calls Pfeiffer's second version: after the attention alone."""
    only_attention = "pfeiffer" in golden.name
    return Method(
        "houlsby",
        HoulsbySettings(
            width=_width(golden),
            activation=_activation(golden),
            places="attention" if only_attention else "both",
            norms=_norms(golden),
        ),
    )


def parallel(golden: Golden) -> Method:
    """Beside the feed-forward network, and in BERT and user encoder of Adapter4Rec beside the attention too."""
    hub = "config" in golden.meta
    settings = ParallelSettings(
        width=_width(golden),
        activation=_activation(golden),
        places="feed-forward" if hub or "pixel_values" in golden.inputs else "both",
        scale=golden.meta["config"]["scaling"] if hub else 1.0,
        norms=_norms(golden),
    )
    if hub or "fixed" in golden.name:
        return Method("parallel", settings)
    return Method(
        "parallel", settings, _add_input, "published form: the residual twice; ours adds it once"
    )


def pfeiffer(golden: Golden) -> Method:
    """After the norm of the feed-forward network."""
    settings = PfeifferSettings(
        width=_width(golden), activation=_activation(golden), norms=_norms(golden)
    )
    if "classic" not in golden.name:
        return Method("pfeiffer", settings)
    eps = golden.meta["second_norm_eps"]

    def set_eps(encoder: nn.Module) -> None:
        for attached in encoder.adapters.children():  # type: ignore[operator, union-attr]
            attached.norm.eps = eps

    return Method("pfeiffer", replace(settings, second_norm=True), set_eps)


def compacter(golden: Golden) -> Method:
    """Compacter, and Compacter++ where it follows the norm."""
    config = golden.meta.get("config", {})
    plus = config.get("mh_adapter") is False
    rule = next(x for name, x in golden.weights.items() if name.endswith("phm_rule"))
    left = next(x for name, x in golden.weights.items() if name.endswith("W_left"))
    settings = CompacterSettings(
        width=_width(golden),
        terms=rule.shape[0],
        rank=left.shape[2],
        activation=_activation(golden),
        places="feed-forward" if plus else "both",
        form="pfeiffer" if plus else "houlsby",
        norms=_norms(golden),
    )
    if config or "fixed" in golden.name:
        return Method("compacter", settings)
    return Method("compacter", settings, _take_input, "published form: no residual; ours keeps it")


def lora(golden: Golden) -> Method:
    """On query and value."""
    factor = next(x for name, x in golden.weights.items() if "lora_A" in name)
    rank = factor.shape[0]
    scale = golden.meta["scaling"]
    return Method("lora", LoraSettings(rank=rank, alpha=scale * rank))


def k_adapter(golden: Golden) -> Method:
    """A side stack; as published it attends to padding, and in the user encoder to later items."""
    meta = golden.meta
    taps = {match[1] for name in golden.weights if (match := _TAP.search(name))}
    settings = KAdapterSettings(
        width=meta["adapter_hidden"],
        heads=meta["adapter_heads"],
        blocks=meta["adapter_blocks"],
        layers=list(meta.get("layers_tapped", range(len(taps)))),
    )
    if "masked" in golden.name or "causal" in golden.name or "pixel_values" in golden.inputs:
        return Method("k-adapter", settings)
    return Method(
        "k-adapter",
        settings,
        _see_all,
        "published form: attends to all; ours where the encoder does",
    )


_TAP = re.compile(r"adapter_list\.(\d+)\.")


def _see_all(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.register_forward_pre_hook(lambda _, args: (args[0], None))


def prompt(golden: Golden) -> Method:
    """Learned tokens beside the encoder's own, not gated."""
    if "input_ids" in golden.inputs and "soft_prompt" in golden.name:
        return Method("frozen", None, _replace_words(golden.meta["n_tokens"]), _REPLACED)
    tokens = next(
        x for name, x in golden.weights.items() if "prompt_embedding" in name or "Prompt" in name
    )
    return Method("prompt", PromptSettings(tokens=tokens.shape[-2], gated=False))


_REPLACED = "published form: the first words are replaced; ours stands before them"


def _replace_words(count: int) -> Callable[[nn.Module], None]:
    def change(encoder: nn.Module) -> None:
        words: nn.Module = encoder.model.get_input_embeddings()  # type: ignore[operator, union-attr]
        learned = nn.Parameter(torch.zeros(count, words.weight.shape[1]))  # type: ignore[index, union-attr]
        encoder.adapters = nn.ParameterDict({"learned": learned})
        words.register_forward_hook(
            lambda _, __, out: torch.cat([learned.expand(len(out), -1, -1), out[:, count:]], dim=1)
        )

    return change


_COUNTED = "positions of words are counted from the first learned token; ours keep theirs"


def peft_prompt(golden: Golden) -> Method:
    """Learned word vectors, not gated: they have positions, a token type and a norm as words have."""
    tokens = golden.weights[_VIRTUAL].shape[0]
    return Method(
        "prompt",
        PromptSettings(tokens=tokens, gated=False),
        _insert_words,
        _COUNTED,
        {_VIRTUAL: "adapters.tokens"},
    )


def peft_prefix(golden: Golden) -> Method:
    """Learned keys and values, not gated."""
    tokens = golden.weights[_VIRTUAL].shape[0]

    def shift(encoder: nn.Module) -> None:
        def count(module: nn.Module, args: Any, given: dict[str, Any]) -> Any:
            own = torch.arange(given["input_ids"].shape[1])
            return args, given | {"position_ids": own.unsqueeze(0) + tokens}

        _embeddings(encoder).register_forward_pre_hook(count, with_kwargs=True)

    settings = PrefixSettings(tokens=tokens, gated=False)
    return Method("prefix", settings, shift, _COUNTED, {_VIRTUAL: "adapters.table"})


_VIRTUAL = "prompt_encoder.default.embedding.weight"


def _insert_words(encoder: nn.Module) -> None:
    embeddings = _embeddings(encoder)
    embeddings._forward_hooks.clear()  # ours inserts tokens after them

    def insert(module: nn.Module, args: Any, given: dict[str, Any]) -> Any:
        words = module.word_embeddings(given["input_ids"])  # type: ignore[operator]
        tokens = encoder.adapters.tokens.expand(len(words), -1, -1)  # type: ignore[operator, union-attr]
        joined = torch.cat([tokens, words], dim=1)
        return args, given | {"input_ids": None, "inputs_embeds": joined}

    embeddings.register_forward_pre_hook(insert, with_kwargs=True)


def _embeddings(encoder: nn.Module) -> nn.Module:
    return encoder.get_submodule("model.embeddings")


def prefix(golden: Golden) -> Method:
    """Learned keys and values through a layer with tanh, not gated."""
    table = next(x for name, x in golden.weights.items() if name.endswith("wte.weight"))
    inner = next(x for name, x in golden.weights.items() if "control_trans.0.bias" in name)
    return Method(
        "prefix", PrefixSettings(tokens=table.shape[0], hidden=inner.shape[0], gated=False)
    )


def peft_low_rank(golden: Golden) -> Method:
    """LoRA and DoRA with peft's own configuration."""
    config = golden.meta["config"]
    kind, settings = ("dora", DoraSettings) if config.get("use_dora") else ("lora", LoraSettings)
    updated = {name.partition(".lora_A")[0] for name in golden.weights if ".lora_A" in name}
    return Method(
        kind,
        settings(
            rank=config["r"],
            alpha=config["lora_alpha"],
            layers=_updated_layers(updated),
            rslora=config.get("use_rslora", False),
        ),
    )


def _updated_layers(names: set[str]) -> Layers:
    """Which of our choices updates the dense layers of these names."""
    if any(name.endswith(_INNER) for name in names):
        return "all"
    return "attention" if any(name.endswith(_KEYS) for name in names) else "query-value"


_INNER = ("intermediate.dense", "fc1", "up_proj")
_KEYS = ("key", "k_proj")


def peft_ia3(golden: Golden) -> Method:
    """IA3; in BERT the name `output.dense` also matches the attention's output layer."""
    if not any("attention.output.dense.ia3_l" in name for name in golden.weights):
        return Method("ia3")
    return Method(
        "ia3",
        None,
        _scale_attention,
        "the file also scales the input of the attention's output layer",
    )


def _scale_attention(encoder: nn.Module) -> None:
    encoder.adapters = nn.ParameterDict()
    for number, layer in enumerate(encoder.model.encoder.layer):  # type: ignore[arg-type, union-attr]
        dense = layer.attention.output.dense
        factor = nn.Parameter(torch.ones(1, dense.in_features))
        encoder.adapters[str(number)] = factor
        dense.register_forward_pre_hook(lambda _, args, factor=factor: (args[0] * factor,))


def layernorm(golden: Golden) -> Method:
    """Every LayerNorm."""
    return Method("layernorm")


def _add_input(encoder: nn.Module) -> None:
    _hook_cores(encoder, lambda _, args, out: out + args[0])


def _take_input(encoder: nn.Module) -> None:
    _hook_cores(encoder, lambda _, args, out: out - args[0])


def _hook_cores(
    encoder: nn.Module, hook: Callable[[Any, tuple[Tensor, ...], Tensor], Tensor]
) -> None:
    for attached in encoder.adapters.children():  # type: ignore[operator, union-attr]
        attached.core.register_forward_hook(hook)


CHOOSERS: dict[str, Chooser] = {
    "adapter4rec_houlsby": houlsby,
    "adapter4rec_houlsby_parallel": parallel,
    "adapter4rec_pfeiffer_ver2": houlsby,
    "adapter4rec_pfeiffer_classic": pfeiffer,
    "adapter4rec_compacter": compacter,
    "adapter4rec_kadapter": k_adapter,
    "adapter4rec_lora": lora,
    "adapter4rec_layernorm": layernorm,
    "adapter4rec_soft_prompt": prompt,
    "adapterhub_prompt_tuning": prompt,
    "adapterhub_prefix_tuning": prefix,
    "peft_dora": peft_low_rank,
    "peft_ia3": peft_ia3,
    "peft_ln_tuning": layernorm,
    "peft_prefix_tuning": peft_prefix,
    "peft_prompt_tuning": peft_prompt,
    "peft_lora": peft_low_rank,
    "peft_rslora": peft_low_rank,
    "adapterhub_houlsby": houlsby,
    "adapterhub_pfeiffer": pfeiffer,
    "adapterhub_parallel": parallel,
    "adapterhub_compacter": compacter,
}
