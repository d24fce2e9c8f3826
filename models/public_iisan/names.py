"""Where each tensor of the public IISAN code lies in our network: one table, read in both directions.

The public network is our `SideNetwork` over two towers (text, then image) and our `SASRec`; only
names, the layout of gates and the order of the fusion's columns differ.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from models.items import SideNetwork
from models.items.part_names import part_name
from models.sequence import SASRec

USER = "user_encoder.transformer_encoder."
ITEM = "mm_encoder."
ENCODERS = (
    ITEM + "cv_encoder.",
    ITEM + "bert_encoder.",
)  # frozen; the uncached code saves them too
SHORT = {"text": "bert", "image": "cv"}  # what the public code calls the towers of our order
GATE = {"text": "text", "image": "cv"}
# The second head layer's name: the cached code's, then those of the uncached code, which takes the
# encoder's own last layer for it (by encoder).
SECOND_HEADS = {
    "text": ("bert_pre_fc", "bert_encoder.text_encoders.title.fc"),
    "image": (
        "cv_pre_fc",
        "cv_encoder.image_net.classifier",
        "cv_encoder.classifier",
        "cv_encoder.cv_proj",
    ),
}


class Place(NamedTuple):
    """Where a public tensor lies in ours: a parameter's name and an index into it."""

    name: str
    index: Any = ...


def official_places(
    network: SideNetwork, encoder: SASRec, *, given: Collection[str], inside: str
) -> dict[str, Place]:
    """Every public name and its place among a recommender's parameters.

    Args:
        network: over two towers, the text one first.
        encoder: the user encoder.
        given: names in the weights at hand, which tell the variants of the public code apart.
        inside: what goes before the network's own parameters' names, e.g. `item_encoder.`.
    """
    names = [*_intra(network, given, inside), *_inter(network, inside), *_fusion(network, inside)]
    return dict([*names, *_user_places(len(encoder.blocks))])


def _intra(
    network: SideNetwork, given: Collection[str], inside: str
) -> Iterator[tuple[str, Place]]:
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


def _inter(network: SideNetwork, inside: str) -> Iterator[tuple[str, Place]]:
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


def _fusion(network: SideNetwork, inside: str) -> Iterator[tuple[str, Place]]:
    """The public fusion reads [image, text, inter], ours [text, image, inter], or what there is of them."""
    e = network.embedding_dim
    columns = list(range(len(network.joined) * e))
    if len(network.intra):
        columns = [*columns[e : 2 * e], *columns[:e], *columns[2 * e :]]
    yield "com_dense.weight", Place(inside + "fusion.weight", (slice(None), columns))
    yield "com_dense.bias", Place(inside + "fusion.bias")


def _user_places(blocks: int) -> Iterator[tuple[str, Place]]:
    ours = "sequence_encoder."
    yield USER + "position_embedding.weight", Place(ours + "positions.weight")
    yield from _linear(USER + "layer_norm", ours + "norm")
    for block in range(blocks):
        theirs, here = f"{USER}transformer_blocks.{block}.", f"{ours}blocks.{block}."
        names = {"w_Q": "query", "w_K": "key", "w_V": "value", "fc": "output"}
        for short, name in names.items():
            public = f"{theirs}multi_head_attention.{short}.weight"
            yield public, Place(f"{here}attention.{name}.weight")
        yield from _linear(f"{theirs}multi_head_attention.layer_norm", here + "attention.norm")
        yield from _linear(f"{theirs}feed_forward.w_1", here + "feed_forward.expand")
        yield from _linear(f"{theirs}feed_forward.w_2", here + "feed_forward.contract")
        yield from _linear(f"{theirs}feed_forward.layer_norm", here + "feed_forward.norm")


def _linear(public: str, ours: str) -> Iterator[tuple[str, Place]]:
    for kind in ("weight", "bias"):
        yield f"{public}.{kind}", Place(f"{ours}.{kind}")


def _blocks(public: str, ours: str, count: int) -> Iterator[tuple[str, Place]]:
    for level in range(count):
        yield from _linear(f"{public}.{level}.fc_down", f"{ours}blocks.{level}.down")
        yield from _linear(f"{public}.{level}.fc_up", f"{ours}blocks.{level}.up")


def _gates(public: str, ours: str, count: int) -> Iterator[tuple[str, Place]]:
    for level in range(count):
        yield f"{public}.{level}", Place(ours + "gates.logits", slice(level, level + 1))
