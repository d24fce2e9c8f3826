"""Weights and gradients of the public IISAN and IISAN-Versa code, under its own names.

What its checkpoints hold, in GAIR-Lab/IISAN: `Code_Cached_Asym` first heads of width E, one Linear a
block for the wider modality, and more inter blocks than it uses where depths differ;
`Code_Cached` first heads as wide as their tower; `Code_Uncached` the same, with the frozen encoders beside it.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.fusion import Concat
from models.items import SideNetwork
from models.items.side_blocks import Activation
from models.public_iisan.names import ENCODERS, ITEM, SHORT, USER, Place, official_places
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.errors import UserError
from toolkit.towers import TowerSpec

_STATE = "model_state_dict"
_SPARE = re.compile(r"mm_encoder\.(mm_adapter_list|down_project_list)\.\d+\.")


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
        places: of the public tensors among the parameters.
        spare: public tensors that the public network holds but never uses.
    """

    def __init__(
        self,
        item_encoder: SelectLayers,
        sequence_encoder: SASRec,
        *,
        places: Mapping[str, Place],
        spare: Mapping[str, Tensor],
    ) -> None:
        super().__init__(item_encoder, sequence_encoder)
        self.places = dict(places)
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
    activation: Activation = "relu",
) -> OfficialIISAN:
    """Builds a recommender from the public code's weights. Shapes, ablations and gates are read off them.

    Args:
        weights: arrays or tensors by public name, or a checkpoint that holds them as `model_state_dict`.
            Those of the frozen encoders are left out, with a warning.
        text_layers: the text encoder's chosen layers, 0-based; its embedding output is kept before them.
        image_layers: the same for the image encoder.
        max_len: L, inputs of the user encoder.
        num_heads: attention heads of the user encoder.
        dropout: of the user encoder.
        activation: of the side blocks, which the weights do not tell.

    Returns:
        A recommender whose `encode_items` takes the states of `text` and `image`, (U, layers + 1, D) each.

    Raises:
        ValueError: if a tensor is absent, has another shape than expected, or is not known.
    """
    tensors = _tensors(weights)
    kept = {
        "text": [0, *(i + 1 for i in text_layers)],
        "image": [0, *(i + 1 for i in image_layers)],
    }
    network = _empty_network(tensors, kept, activation)
    encoder = SASRec(
        skip_padding=False,  # held against the public code's states, padding included
        embedding_dim=network.embedding_dim,
        max_len=max_len,
        heads=num_heads,
        blocks=_count(tensors, USER + "transformer_blocks."),
        dropout=dropout,
    )
    places = official_places(network, encoder, given=tensors, inside="item_encoder.network.")
    spare = _spare(tensors, places)
    model = OfficialIISAN(SelectLayers(network, kept), encoder, places=places, spare=spare)
    _copy(model, places, tensors, hint="check text_layers, image_layers and max_len")
    return model


def begin_from_official(model: Recommender, weights: Mapping[str, Any], *, name: str) -> None:
    """Copies the public code's weights into a run's model of the same shape, in place.

    Args:
        model: a side network over two towers, text then image, and a SASRec.
        weights: as `load_official_iisan` takes them.
        name: of the weights, for messages.

    Raises:
        UserError: if the model is another, or the weights do not fit it.
    """
    network, encoder = model.item_encoder, model.sequence_encoder
    if not (isinstance(network, SideNetwork) and isinstance(encoder, SASRec)):
        raise UserError(
            f"init_from {name}: the public code's weights are those of a side network and a SASRec, which this run "
            "has not"
        )
    if not isinstance(network.fusion, Concat):
        raise UserError(
            f"init_from {name}: the public code's network concatenates its parts, and this run joins them otherwise; "
            "set --fusion.kind concat"
        )
    kinds = [spec.modality for spec in network.specs]
    if len(kinds) != 2 or kinds == ["image", "text"]:
        raise UserError(
            f"init_from {name}: the public code's towers are a text and an image, in this order; this run's are "
            f"{[spec.name for spec in network.specs]}, set by --towers"
        )
    try:
        tensors = _tensors(weights)
        places = official_places(network, encoder, given=tensors, inside="item_encoder.")
        _spare(tensors, places)
        _copy(
            model,
            places,
            tensors,
            hint="set --side and --sequence as they were when it was trained",
        )
    except ValueError as error:
        raise UserError(f"init_from {name}: {error}") from None
    fresh = sorted({n for n, _ in model.named_parameters()} - {p.name for p in places.values()})
    if fresh:
        raise UserError(
            f"init_from {name}: the public network has nothing like {fresh[0]!r} and {len(fresh) - 1} more of this "
            "run's parameters; its towers have states of one width"
        )


def read_weights(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing in it can execute.

    Raises:
        UserError: if it is neither a .safetensors file nor one that torch reads as weights alone.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    try:
        weights = _load(path)
    except Exception as error:  # bytes that are no weights lead the readers to errors of many kinds
        raise UserError(
            f"{path}: not read as weights ({(str(error) or repr(error)).splitlines()[0]}); a .safetensors file is "
            "wanted, or a .pt file that holds tensors alone"
        ) from None
    if not isinstance(weights, dict):
        raise UserError(f"{path}: holds one {type(weights).__name__}, not tensors by name")
    return weights


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by public name, without the prefix that DistributedDataParallel puts before it."""
    named = weights.get(_STATE, weights)
    odd = next((name for name, value in named.items() if not hasattr(value, "shape")), None)
    if odd is not None:
        raise ValueError(
            f"{odd!r} is no tensor; the weights, or a checkpoint with {_STATE!r}, are wanted"
        )
    return {
        name.removeprefix("module."): torch.as_tensor(value, dtype=torch.float32)
        for name, value in named.items()
    }


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"weights lack {name!r}; are these the public IISAN weights?")
    return tensors[name]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks lie under a name that ends in a dot."""
    under = (name.removeprefix(prefix) for name in tensors if name.startswith(prefix))
    return len({name.split(".")[0] for name in under})


def _spare(tensors: Mapping[str, Tensor], places: Mapping[str, Place]) -> dict[str, Tensor]:
    """What the public network holds but never uses; the encoders' weights are told of and left out.

    Raises:
        ValueError: if other tensors are left over.
    """
    left = {name: tensor for name, tensor in tensors.items() if name not in places}
    encoders = [name for name in left if name.startswith(ENCODERS)]
    spare = {name: tensor for name, tensor in left.items() if _SPARE.match(name)}
    unknown = sorted({*left} - {*encoders, *spare})
    if unknown:
        raise ValueError(f"weights hold tensors that this network has not: {unknown[:5]}")
    if encoders:
        warnings.warn(
            f"{len(encoders)} tensors of the frozen encoders are left out; hidden states come from prep",
            stacklevel=3,
        )
    return spare


def _copy(
    model: nn.Module, places: Mapping[str, Place], tensors: Mapping[str, Tensor], *, hint: str
) -> None:
    parameters = dict(model.named_parameters())
    for name, (ours, index) in places.items():
        value, parameter = _tensor(tensors, name), parameters[ours]
        wanted = parameter[index].shape
        if wanted != value.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(value.shape)}, expected {tuple(wanted)}; {hint}"
            )
        with torch.no_grad():
            parameter[index] = value


def _empty_network(
    tensors: Mapping[str, Tensor], kept: Mapping[str, Sequence[int]], activation: Activation
) -> SideNetwork:
    """The network that the weights are of, with random ones."""
    intra = any(_count(tensors, f"{ITEM}{short}_adapter_list.") for short in SHORT.values())
    inter = _count(tensors, ITEM + "mm_adapter_list.") > 0 or not intra
    embedding_dim = _tensor(tensors, "com_dense.weight").shape[0]
    downs = {name: _down(tensors, short if intra else "mm") for name, short in SHORT.items()}
    if intra:
        _check_depths(tensors, kept)
    return SideNetwork(
        [
            TowerSpec(name, len(kept[name]), down.shape[1], modality=name)  # type: ignore[arg-type]
            for name, down in downs.items()
        ],
        embedding_dim=embedding_dim,
        bottleneck={name: down.shape[0] for name, down in downs.items()},
        inter_bottleneck=_down(tensors, "mm").shape[0] if inter else None,
        activation=activation,
        parts="both" if intra and inter else "intra" if intra else "inter",
        mixing="gated" if any(ITEM + "side_gate_params" in name for name in tensors) else "sum",
        wide_heads=intra and _tensor(tensors, ITEM + "fc_bert.weight").shape[0] != embedding_dim,
    )


def _down(tensors: Mapping[str, Tensor], short: str) -> Tensor:
    """W_down of a tower's first block, (bottleneck, D)."""
    return _tensor(tensors, f"{ITEM}{short}_adapter_list.0.fc_down.weight")


def _check_depths(tensors: Mapping[str, Tensor], kept: Mapping[str, Sequence[int]]) -> None:
    for kind, short in SHORT.items():
        blocks = _count(tensors, f"{ITEM}{short}_adapter_list.")
        if blocks != len(kept[kind]):
            raise ValueError(
                f"weights hold {blocks} {kind} blocks; {kind}_layers with the embedding output before them make "
                f"{len(kept[kind])} (the public option remove_first, without that output, is not supported)"
            )
