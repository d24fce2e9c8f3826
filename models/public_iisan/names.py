"""Maps the tensors of the public IISAN code to parameters of a `Recommender`; the map is used in both directions.

The public network is equivalent to a `SideNetwork` over two towers (text, then image) with a `SASRec`. Only names, the
layout of gates and the column order of the fusion differ.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from models.items import SideNetwork
from models.items.part_names import part_name
from models.sequence import SASRec

USER = "user_encoder.transformer_encoder."
ITEM = "mm_encoder."
ENCODERS = (ITEM + "cv_encoder.", ITEM + "bert_encoder.")  # frozen; saved by the uncached code
SHORT = {"text": "bert", "image": "cv"}  # the public names of the towers, in the order of this code
GATE = {"text": "text", "image": "cv"}
# Names of the second head layer: in the cached code, then in the uncached code, which uses the last
# layer of the encoder.
SECOND_HEADS = {
    "text": ("bert_pre_fc", "bert_encoder.text_encoders.title.fc"),
    "image": (
        "cv_pre_fc",
        "cv_encoder.image_net.classifier",
        "cv_encoder.classifier",
        "cv_encoder.cv_proj",
    ),
}


class ParameterSlice(NamedTuple):
    """The part of a parameter that a public tensor maps to: the parameter's name and an index into it."""

    name: str
    index: Any = ...


def official_parameters(
    network: SideNetwork, encoder: SASRec, *, given: Collection[str], inside: str
) -> dict[str, ParameterSlice]:
    """Maps every public name to a part of a recommender's parameters.

    Args:
        network: side network over two towers, text first.
        encoder: the user encoder.
        given: names of the weights, which identify the variant of the public code.
        inside: prefix of the network's parameters, such as `item_encoder.`.
    """
    names = [*_intra(network, given, inside), *_inter(network, inside), *_fusion(network, inside)]
    return dict([*names, *_user(len(encoder.blocks))])


def _intra(
    network: SideNetwork, given: Collection[str], inside: str
) -> Iterator[tuple[str, ParameterSlice]]:
    towers = zip(
        SHORT, network.specs, network.intra.values(), strict=False
    )  # none in the ablation `inter`
    for kind, spec, tower in towers:
        here, short = f"{inside}intra.{part_name(spec.name)}.", SHORT[kind]
        yield from _blocks(f"{ITEM}{short}_adapter_list", here, spec.layers)
        if tower.gates is not None:
            yield from _gates(f"{ITEM}side_gate_params_{GATE[kind]}", here, spec.layers)
        yield from _linear(f"{ITEM}fc_{short}", here + "head")
        yield from _linear(_second_head(kind, given), here + "project")


def _second_head(kind: str, given: Collection[str]) -> str:
    names = [ITEM + name for name in SECOND_HEADS[kind]]
    return next((name for name in names if f"{name}.weight" in given), names[0])


def _inter(network: SideNetwork, inside: str) -> Iterator[tuple[str, ParameterSlice]]:
    if network.inter is None:
        return
    here, levels = inside + "inter.", network.inter.levels
    yield from _blocks(f"{ITEM}mm_adapter_list", here, levels)
    if network.inter.gates is not None:
        yield from _gates(f"{ITEM}side_gate_params_mm", here, levels)
    yield from _linear(f"{ITEM}fc_mm", here + "head")
    yield from _linear(f"{ITEM}fc_mm_down", here + "project")
    text, image = network.specs
    if text.width != image.width:
        wider = f"{here}projections.{part_name(max(text, image, key=lambda s: s.width).name)}"
        for level in range(levels):
            yield from _linear(f"{ITEM}down_project_list.{level}", f"{wider}.{level}")


def _fusion(network: SideNetwork, inside: str) -> Iterator[tuple[str, ParameterSlice]]:
    """The fusion: the public column order is image, text, inter; `Concat` uses text, image, inter."""
    e = network.embedding_dim
    columns = list(range(len(network.joined) * e))
    if len(network.intra):
        columns = [*columns[e : 2 * e], *columns[:e], *columns[2 * e :]]
    yield "com_dense.weight", ParameterSlice(inside + "fusion.weight", (slice(None), columns))
    yield "com_dense.bias", ParameterSlice(inside + "fusion.bias")


def _user(blocks: int) -> Iterator[tuple[str, ParameterSlice]]:
    ours = "sequence_encoder."
    yield USER + "position_embedding.weight", ParameterSlice(ours + "positions.weight")
    yield from _linear(USER + "layer_norm", ours + "norm")
    for block in range(blocks):
        theirs, here = f"{USER}transformer_blocks.{block}.", f"{ours}blocks.{block}."
        names = {"w_Q": "query", "w_K": "key", "w_V": "value", "fc": "output"}
        for short, name in names.items():
            public = f"{theirs}multi_head_attention.{short}.weight"
            yield public, ParameterSlice(f"{here}attention.{name}.weight")
        yield from _linear(f"{theirs}multi_head_attention.layer_norm", here + "attention.norm")
        yield from _linear(f"{theirs}feed_forward.w_1", here + "feed_forward.expand")
        yield from _linear(f"{theirs}feed_forward.w_2", here + "feed_forward.contract")
        yield from _linear(f"{theirs}feed_forward.layer_norm", here + "feed_forward.norm")


def _linear(public: str, ours: str) -> Iterator[tuple[str, ParameterSlice]]:
    for kind in ("weight", "bias"):
        yield f"{public}.{kind}", ParameterSlice(f"{ours}.{kind}")


def _blocks(public: str, ours: str, count: int) -> Iterator[tuple[str, ParameterSlice]]:
    for level in range(count):
        yield from _linear(f"{public}.{level}.fc_down", f"{ours}blocks.{level}.down")
        yield from _linear(f"{public}.{level}.fc_up", f"{ours}blocks.{level}.up")


def _gates(public: str, ours: str, count: int) -> Iterator[tuple[str, ParameterSlice]]:
    for level in range(count):
        yield f"{public}.{level}", ParameterSlice(ours + "gates.logits", slice(level, level + 1))
