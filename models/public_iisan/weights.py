"""Loads the weights of the public IISAN and IISAN-Versa code, and returns gradients under its names.

Checkpoints of GAIR-Lab/IISAN: `Code_Cached_Asym` has first head layers of width E, one Linear per block for the wider
modality, and unused inter blocks if depths differ. `Code_Cached` has first head layers of the tower's width.
`Code_Uncached` additionally contains the frozen encoders.
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
from models.public_iisan.names import (
    ENCODERS,
    ITEM,
    SHORT,
    USER,
    ParameterSlice,
    official_parameters,
)
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.errors import UserError
from toolkit.towers import TowerSpec

_STATE = "model_state_dict"
_SPARE = re.compile(r"mm_encoder\.(mm_adapter_list|down_project_list)\.\d+\.")


class SelectLayers(nn.Module):
    """Selects the kept layers from full hidden states, and runs a side network on them.

    Args:
        network: side network over the kept states.
        kept: indices of the kept layers in the full states, by tower.
    """

    def __init__(self, network: SideNetwork, kept: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.kept = {name: list(indices) for name, indices in kept.items()}

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        """`{name: (U, layers + 1, D)}` -> (U, E)."""
        return self.network({name: states[name][:, kept] for name, kept in self.kept.items()})


class OfficialIISAN(Recommender):
    """A `Recommender` that maps its parameters to the names of the public code.

    Args:
        item_encoder: `SelectLayers` over towers named `text` and `image`.
        sequence_encoder: the user encoder.
        slices: parts of the parameters by public name.
        spare: tensors that the public network has but does not use.
    """

    def __init__(
        self,
        item_encoder: SelectLayers,
        sequence_encoder: SASRec,
        *,
        slices: Mapping[str, ParameterSlice],
        spare: Mapping[str, Tensor],
    ) -> None:
        super().__init__(item_encoder, sequence_encoder)
        self.slices = dict(slices)
        self.spare = dict(spare)

    def official_gradients(self) -> dict[str, Tensor]:
        """Gradients after a backward pass, by public name; zeros for unused tensors.

        Raises:
            ValueError: if there was no backward pass.
        """
        gradients = {name: torch.zeros_like(tensor) for name, tensor in self.spare.items()}
        parameters = dict(self.named_parameters())
        for name, target in self.slices.items():
            gradient = parameters[target.name].grad
            if gradient is None:
                raise ValueError(f"parameter {name!r} has no gradient; call backward() first")
            gradients[name] = gradient[target.index].clone()
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
    """Builds a recommender from the public code's weights, which determine shapes, ablations and gates.

    Args:
        weights: arrays or tensors by public name, or a checkpoint with them in `model_state_dict`. Weights of the frozen
            encoders are ignored with a warning.
        text_layers: selected layers of the text encoder, from 0; its embedding output is always kept before them.
        image_layers: selected layers of the image encoder, likewise.
        max_len: L, inputs of the user encoder.
        num_heads: attention heads of the user encoder.
        dropout: dropout probability of the user encoder.
        activation: activation of the side blocks, which the weights do not determine.

    Returns:
        A recommender. The features of its `encode_items` are the states of `text` and `image`, (U, layers + 1, D) each.

    Raises:
        ValueError: if a tensor is missing, unknown, or of another shape than expected.
    """
    tensors = _tensors(weights)
    kept = {
        "text": [0, *(i + 1 for i in text_layers)],
        "image": [0, *(i + 1 for i in image_layers)],
    }
    network = _empty_network(tensors, kept, activation)
    encoder = SASRec(
        skip_padding=False,  # states at padding also equal those of the public code
        embedding_dim=network.embedding_dim,
        max_len=max_len,
        heads=num_heads,
        blocks=_count(tensors, USER + "transformer_blocks."),
        dropout=dropout,
    )
    slices = official_parameters(network, encoder, given=tensors, inside="item_encoder.network.")
    spare = _spare(tensors, slices)
    model = OfficialIISAN(SelectLayers(network, kept), encoder, slices=slices, spare=spare)
    _copy(model, slices, tensors, hint="check text_layers, image_layers and max_len")
    return model


def begin_from_official(model: Recommender, weights: Mapping[str, Any], *, name: str) -> None:
    """Copies the public code's weights into a run's model of the same shape, in place.

    Args:
        model: model with a side network over two towers, text then image, and a SASRec.
        weights: weights, as in `load_official_iisan`.
        name: name of the weights, for messages.

    Raises:
        UserError: if the model has another architecture, or the weights do not fit it.
    """
    network, encoder = model.item_encoder, model.sequence_encoder
    if not (isinstance(network, SideNetwork) and isinstance(encoder, SASRec)):
        raise UserError(
            f"init_from {name}: the public code's weights require a side network and a SASRec, which this run does not "
            "have; set --item side-network and --sequence.kind sasrec, or leave out init_from"
        )
    if not isinstance(network.fusion, Concat):
        raise UserError(
            f"init_from {name}: the public code's network concatenates its parts, but this run uses another fusion; set "
            "--fusion.kind concat"
        )
    kinds = [spec.modality for spec in network.specs]
    if len(kinds) != 2 or kinds == ["image", "text"]:
        raise UserError(
            f"init_from {name}: the public code has a text and an image tower, in this order, but this run's towers are "
            f"{[spec.name for spec in network.specs]}; set --towers"
        )
    try:
        tensors = _tensors(weights)
        slices = official_parameters(network, encoder, given=tensors, inside="item_encoder.")
        _spare(tensors, slices)
        _copy(
            model,
            slices,
            tensors,
            hint="set the --side and --sequence options with which the weights were trained",
        )
    except ValueError as error:
        raise UserError(f"init_from {name}: {error}") from None
    fresh = sorted({n for n, _ in model.named_parameters()} - {p.name for p in slices.values()})
    if fresh:
        raise UserError(
            f"init_from {name}: the weights contain no values for {fresh[0]!r} and {len(fresh) - 1} more of this run's "
            "parameters; use towers whose states have one width"
        )


def read_weights(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without executing code from it.

    Raises:
        UserError: if it is neither a .safetensors file nor a .pt file that contains only tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a checkpoint of the public IISAN code")
    try:
        weights = _load(path)
    except Exception as error:  # the readers raise many types for invalid files
        raise UserError(
            f"{path}: cannot be read as weights ({(str(error) or repr(error)).splitlines()[0]}); expected a "
            ".safetensors file, or a .pt file that contains only tensors"
        ) from None
    if not isinstance(weights, dict):
        raise UserError(f"{path}: contains a {type(weights).__name__}; expected tensors by name")
    return weights


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by public name, without the prefix of DistributedDataParallel."""
    named = weights.get(_STATE, weights)
    invalid = next((name for name, value in named.items() if not hasattr(value, "shape")), None)
    if invalid is not None:
        raise ValueError(
            f"{invalid!r} is not a tensor; expected weights by name, or a checkpoint with {_STATE!r}"
        )
    return {
        name.removeprefix("module."): torch.as_tensor(value, dtype=torch.float32)
        for name, value in named.items()
    }


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"weights lack {name!r}; expected weights of the public IISAN code")
    return tensors[name]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks under a prefix that ends in a dot."""
    under = (name.removeprefix(prefix) for name in tensors if name.startswith(prefix))
    return len({name.split(".")[0] for name in under})


def _spare(
    tensors: Mapping[str, Tensor], slices: Mapping[str, ParameterSlice]
) -> dict[str, Tensor]:
    """Tensors that the public network has but does not use. Warns about weights of encoders, which are ignored.

    Raises:
        ValueError: if other tensors remain.
    """
    left = {name: tensor for name, tensor in tensors.items() if name not in slices}
    encoders = [name for name in left if name.startswith(ENCODERS)]
    spare = {name: tensor for name, tensor in left.items() if _SPARE.match(name)}
    unknown = sorted({*left} - {*encoders, *spare})
    if unknown:
        raise ValueError(f"weights contain tensors that this network lacks: {unknown[:5]}")
    if encoders:
        warnings.warn(
            f"{len(encoders)} tensors of the frozen encoders are ignored; prep computes the hidden states",
            stacklevel=3,
        )
    return spare


def _copy(
    model: nn.Module,
    slices: Mapping[str, ParameterSlice],
    tensors: Mapping[str, Tensor],
    *,
    hint: str,
) -> None:
    parameters = dict(model.named_parameters())
    for name, (ours, index) in slices.items():
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
    """The network of the weights, with random initial values."""
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
                f"weights have {blocks} {kind} blocks; expected {len(kept[kind])}, the embedding output and "
                f"{kind}_layers (the public option remove_first, which omits that output, is not supported)"
            )
