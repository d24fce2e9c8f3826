"""The public codes' names of weights, and ours."""

import re
from collections.abc import Iterable, Mapping

Rename = tuple[str, str]  # a pattern, and what stands instead

_ADAPTER4REC: tuple[Rename, ...] = (
    (r"^model\.(?=embeddings|encoder|pooler|vit|classifier|transformer_encoder)", ""),
    (r"^phm_rule$", "adapter_rule.weight"),
    (r"(self_output|transformer_block)\.", ""),
)
_CORES: tuple[Rename, ...] = (  # of bottlenecks, after their place is renamed
    (r"(fc_down|down_sampler|adapter_down\.0)\.", "down."),
    (r"(fc_up|up_sampler|adapter_up)\.", "up."),
    (r"W_left$", "left"),
    (r"W_right$", "right"),
    (r"^(adapters\..*)\.b$", r"\1.bias"),
)
_LOW_RANK: tuple[Rename, ...] = ((r"\.(lora_[AB])$", r".\1.default.weight"),)

_PEFT: tuple[Rename, ...] = (
    (r"^base_model\.", ""),
    (r"^.*LayerNorm\.base_layer\..*$", r"unused.\g<0>"),  # LN tuning computes with copies
    (r"layernorm(_\w+)?\.base_layer\.(.*)$", r"unused.\g<0>"),
    (r"ln_tuning_layers\.default\.", ""),
    (r"base_layer\.", ""),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.ia3_l\.default$", r"adapters.\1"),
)
_LEARNED: tuple[Rename, ...] = (
    (r"^embeddings\.word_embeddings\.learned_embedding$", "adapters.learned"),
    (r"^prompt_tuning\.prompt_tunings\.a\.prompt_embedding\.weight$", "adapters.tokens"),
    (r"^embeddings\.Prompt_Tokens$", "adapters.tokens"),
    (r"^.*self_prefix\.wte\.weight$", "adapters.table"),
    (r"^.*self_prefix\.control_trans\.", "adapters.make."),
    (r"embeddings\.wte\.", "embeddings."),
)

# K-Adapter: its blocks are those of SASRec under the public code's names.
_BLOCKS: tuple[Rename, ...] = (
    (r"multi_head_attention\.w_Q\.", "attention.query."),
    (r"multi_head_attention\.w_K\.", "attention.key."),
    (r"multi_head_attention\.w_V\.", "attention.value."),
    (r"multi_head_attention\.fc\.", "attention.output."),
    (r"multi_head_attention\.layer_norm\.", "attention.norm."),
    (r"feed_forward\.w_1\.", "feed_forward.expand."),
    (r"feed_forward\.w_2\.", "feed_forward.contract."),
    (r"feed_forward\.layer_norm\.", "feed_forward.norm."),
)
_K_ADAPTER: tuple[Rename, ...] = (
    (r"^.*adapter_list\.(\d+)\.transformer_blocks\.", r"adapters.taps.\1.blocks."),
    (r"^.*adapter_list\.(\d+)\.(down|up)_project\.", r"adapters.taps.\1.\2."),
    (r"^.*com_dense2?\.", "adapters.join."),
    (r"vit_encoder\.", ""),
)
_SHARED = (r"^shared_parameters\.a\.phm_rule$", "adapter_rule.weight")

BERT: tuple[Rename, ...] = (
    *_ADAPTER4REC,
    _SHARED,
    *_K_ADAPTER,
    *_BLOCKS,
    (r"^bert_model\.", ""),
    (
        r"^encoder\.layer\.(\d+)\.attention\.output\.adapters?\.(a\.)?",
        r"adapters.\1_attention.core.",
    ),
    (r"^encoder\.layer\.(\d+)\.output\.adapters?\.(a\.)?", r"adapters.\1_feed_forward.core."),
    (r"^encoder\.layer\.(\d+)\.output\.LN\.", r"adapters.\1_feed_forward.norm."),
    *_CORES,
    *_LOW_RANK,
    *_LEARNED,
    *_PEFT,
    (r"^(?!adapter|unused)", "model."),
)
VIT: tuple[Rename, ...] = (
    *_ADAPTER4REC,
    _SHARED,
    (r"^classifier\.", "head."),
    (r"^vit\.", ""),
    *_K_ADAPTER,
    *_BLOCKS,
    (r"^encoder\.layer\.(\d+)\.attention\.output\.adapter\.", r"adapters.\1_attention.core."),
    (r"^encoder\.layer\.(\d+)\.attention_adapters\.adapters\.a\.", r"adapters.\1_attention.core."),
    (
        r"^encoder\.layer\.(\d+)\.output\.(adapter\.|output_adapters\.adapters\.a\.)",
        r"adapters.\1_feed_forward.core.",
    ),
    *_CORES,
    *_LOW_RANK,
    *_LEARNED,
    (r"^encoder\.layer\.", "layers."),
    (r"attention\.attention\.(query|key|value)\.", r"attention.\1_proj."),
    (r"\.query_proj\.", ".q_proj."),
    (r"\.key_proj\.", ".k_proj."),
    (r"\.value_proj\.", ".v_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"^(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    *_PEFT[3:5],
    (r"^(?!adapter|head\.)", "model."),
)
USER: tuple[Rename, ...] = (
    *_ADAPTER4REC,
    (r"^transformer_encoder\.", ""),
    (r"^position_embedding\.", "positions."),
    (r"^layer_norm\.", "norm."),
    *_K_ADAPTER,
    (r"^transformer_blocks\.transformer_blocks\.", "transformer_blocks."),
    (r"^transformer_blocks\.(\d+)\.adapter1\.", r"adapters.\1_attention.core."),
    (r"^transformer_blocks\.(\d+)\.adapter2\.", r"adapters.\1_feed_forward.core."),
    (r"^transformer_blocks\.(\d+)\.adapter\.", r"adapters.\1_attention.core."),
    (r"^transformer_blocks\.", "blocks."),
    *_BLOCKS,
    *_CORES,
    *_LOW_RANK,
)


def renamed(name: str, renames: Iterable[Rename]) -> str:
    """Our name of a public weight."""
    for pattern, instead in renames:
        name = re.sub(pattern, instead, name)
    return name


def our_names(weights: Iterable[str], renames: Iterable[Rename]) -> dict[str, str]:
    """Our name of every public weight."""
    renames = list(renames)
    return {name: renamed(name, renames) for name in weights}


def names_by_part(
    weights: Iterable[str], parts: Mapping[str, tuple[str, Iterable[Rename]]]
) -> dict[str, dict[str, str]]:
    """Our name of every public weight in each part of a model, without the part's own name.

    Args:
        weights: public names.
        parts: by our name of a part, the start of its public names and the renames of what follows.
    """
    found = {}
    for part, (start, renames) in parts.items():
        ours = our_names([x.removeprefix(start) for x in weights if x.startswith(start)], renames)
        found[part] = {start + name: our for name, our in ours.items()}
    return found
