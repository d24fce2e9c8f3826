"""Weights and gradients of the public IISAN-Versa code, under its own names.

The public network is our `SideNetwork` over two towers (text, then image) and our `SASRec`; only
names, the layout of gates and the order of the fusion's columns differ. One table of names serves
both directions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.items.side_network import SideNetwork
from models.recommender import Recommender
from models.sequence.sasrec import SASRec
from toolkit.towers import TowerSpec

_USER = "user_encoder.transformer_encoder."
_ITEM = "mm_encoder."
# The public code may hold more inter blocks than it uses, where depths are unequal.
_SPARE = re.compile(r"mm_encoder\.(mm_adapter_list|down_project_list)\.\d+\.")


class Place(NamedTuple):
    """Where a public tensor lies in ours: a parameter's name and an index into it."""

    name: str
    index: Any = ...


class SelectLayers(nn.Module):
    """Picks the kept layers out of full hidden states, then runs a side network on them.

    Args:
        network: over the kept states.
        kept: by tower, indices into its full states.
    """

    def __init__(self, network: SideNetwork, kept: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.kept = {name: list(indices) for name, indices in kept.items()}

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        """`{name: (U, layers + 1, D)}` -> (U, E)."""
        return self.network({name: states[name][:, kept] for name, kept in self.kept.items()})


class OfficialIISAN(Recommender):
    """A `Recommender` that knows the public code's names for its parameters.

    Args:
        item_encoder: `SelectLayers` over towers named `text` and `image`.
        sequence_encoder: the user encoder.
        spare: public tensors that the public network holds but never uses.
    """

    def __init__(
        self,
        item_encoder: SelectLayers,
        sequence_encoder: SASRec,
        *,
        spare: Mapping[str, Tensor],
    ) -> None:
        super().__init__(item_encoder, sequence_encoder)
        self.places = dict(_places(item_encoder.network, sequence_encoder))
        self.spare = dict(spare)

    def official_gradients(self) -> dict[str, Tensor]:
        """Gradients after a backward pass, by public name; zeros for tensors that are never used.

        Raises:
            ValueError: if there was no backward pass.
        """
        gradients = {name: torch.zeros_like(tensor) for name, tensor in self.spare.items()}
        parameters = dict(self.named_parameters())
        for name, place in self.places.items():
            gradient = parameters[place.name].grad
            if gradient is None:
                raise ValueError(f"parameter {name!r} has no gradient; call backward() first")
            gradients[name] = gradient[place.index].clone()
        return gradients


def load_official_iisan(
    weights: Mapping[str, Any],
    *,
    text_layers: Sequence[int],
    image_layers: Sequence[int],
    max_len: int = 10,
    num_heads: int = 2,
    dropout: float = 0.1,
) -> OfficialIISAN:
    """Builds a recommender from the public code's weights. Shapes are read off the weights.

    Args:
        weights: arrays or tensors by public name.
        text_layers: the text encoder's chosen layers, 0-based; its embedding output is kept before them.
        image_layers: the same for the image encoder.
        max_len: L, inputs of the user encoder.
        num_heads: attention heads of the user encoder.
        dropout: of the user encoder.

    Returns:
        A recommender whose `encode_items` takes `{"text": (U, layers + 1, D), "image": …}`.

    Raises:
        ValueError: if a tensor is absent, has another shape than expected, or is not known.
    """
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in weights.items()}
    kept = {
        "text": [0, *(i + 1 for i in text_layers)],
        "image": [0, *(i + 1 for i in image_layers)],
    }
    network = _empty_network(tensors, kept)
    encoder = SASRec(
        embedding_dim=network.embedding_dim,
        max_len=max_len,
        heads=num_heads,
        blocks=len(
            {
                name.split(".")[3]
                for name in tensors
                if name.startswith(_USER + "transformer_blocks.")
            }
        ),
        dropout=dropout,
    )
    places = dict(_places(network, encoder))
    spare = {n: tensor for n, tensor in tensors.items() if n not in places and _SPARE.match(n)}
    unknown = sorted(set(tensors) - set(places) - set(spare))
    if unknown:
        raise ValueError(f"weights hold tensors that IISAN-Versa has not: {unknown[:5]}")
    model = OfficialIISAN(SelectLayers(network, kept), encoder, spare=spare)
    parameters = dict(model.named_parameters())
    for name, place in places.items():
        _copy(parameters[place.name], place.index, _tensor(tensors, name), name)
    return model


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"weights lack {name!r}; are these the public IISAN-Versa weights?")
    return tensors[name]


def _copy(parameter: nn.Parameter, index: Any, value: Tensor, name: str) -> None:
    with torch.no_grad():
        if parameter[index].shape != value.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(value.shape)}, expected {tuple(parameter[index].shape)}; "
                "check text_layers, image_layers and max_len"
            )
        parameter[index] = value


def _empty_network(tensors: Mapping[str, Tensor], kept: Mapping[str, Sequence[int]]) -> SideNetwork:
    public = {"text": "bert", "image": "cv"}
    specs, bottlenecks = [], {}
    for name, short in public.items():
        down = _tensor(tensors, f"{_ITEM}{short}_adapter_list.0.fc_down.weight")
        specs.append(TowerSpec(name, len(kept[name]), down.shape[1], modality=name))  # type: ignore[arg-type]
        bottlenecks[name] = down.shape[0]
    inter = _tensor(tensors, f"{_ITEM}mm_adapter_list.0.fc_down.weight")
    return SideNetwork(
        specs,
        embedding_dim=_tensor(tensors, "com_dense.weight").shape[0],
        bottleneck=bottlenecks,
        inter_bottleneck=inter.shape[0],
    )


def _places(network: SideNetwork, encoder: SASRec) -> Iterator[tuple[str, Place]]:
    """Every public name and its place among `OfficialIISAN`'s parameters."""
    ours = "item_encoder.network."
    for tower, (short, gate) in enumerate([("bert", "text"), ("cv", "cv")]):
        here = f"{ours}intra.{tower}."
        yield from _blocks(f"{_ITEM}{short}_adapter_list", here, network.specs[tower].layers)
        yield from _gates(f"{_ITEM}side_gate_params_{gate}", here, network.specs[tower].layers)
        yield from _linear(f"{_ITEM}fc_{short}", here + "head")
        yield from _linear(f"{_ITEM}{short}_pre_fc", here + "project")
    assert network.inter is not None  # two towers
    here, levels = ours + "inter.", network.inter.levels
    yield from _blocks(f"{_ITEM}mm_adapter_list", here, levels)
    yield from _gates(f"{_ITEM}side_gate_params_mm", here, levels)
    yield from _linear(f"{_ITEM}fc_mm", here + "head")
    yield from _linear(f"{_ITEM}fc_mm_down", here + "project")
    text, image = (spec.width for spec in network.specs)
    if text != image:
        wider = int(image > text)
        for level in range(levels):
            yield from _linear(
                f"{_ITEM}down_project_list.{level}", f"{here}projections.{wider}.{level}"
            )
    # The public fusion reads [image, text, inter], ours [text, image, inter].
    e = network.embedding_dim
    columns = [*range(e, 2 * e), *range(e), *range(2 * e, 3 * e)]
    yield "com_dense.weight", Place(ours + "fusion.weight", (slice(None), columns))
    yield "com_dense.bias", Place(ours + "fusion.bias")
    yield from _user_places(len(encoder.blocks))


def _user_places(blocks: int) -> Iterator[tuple[str, Place]]:
    ours = "sequence_encoder."
    yield _USER + "position_embedding.weight", Place(ours + "positions.weight")
    yield from _linear(_USER + "layer_norm", ours + "norm")
    for block in range(blocks):
        theirs, here = f"{_USER}transformer_blocks.{block}.", f"{ours}blocks.{block}."
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
