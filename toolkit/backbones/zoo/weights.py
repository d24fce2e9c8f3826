"""Public weights of video networks from local files, every name accounted for."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from toolkit.backbones.zoo.network import VideoNetwork
from toolkit.errors import UserError

_INSIDE = ("model_state", "state_dict", "model")  # keys under which public files keep the weights
_COUNTER = "num_batches_tracked"  # of BatchNorm, which older files lack; nothing depends on it
_NAMED = 3  # names in a message


def load_weights(model: nn.Module, file: Path, network: VideoNetwork, *, who: str) -> None:
    """Loads a file into a network, head included if the file has it.

    Names and shapes must be the network's; only the head may be missing or have another number of classes. Position
    tables of another length are resized, with a warning.

    Args:
        model: the network as its library builds it.
        file: `.safetensors`, or what torch pickles (only tensors and plain values are read).
        network: its declaration.
        who: the encoder's name, for messages.

    Raises:
        UserError: naming what is missing, unknown or of another shape.
    """
    state = read_weights(file, who=who)
    own = model.state_dict()
    absent = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    missing = [name for name in absent if not network.is_head(name)]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        raise UserError(
            f"encoder {who!r}: {file.name} holds weights of another network ({_differences(missing, unknown)}); "
            f"expected those of {network.published}"
        )
    for name, tensor in list(state.items()):
        if tensor.shape != own[name].shape:
            state[name] = _resized(name, tensor, own[name], network, who=f"{who!r} ({file.name})")
    model.load_state_dict({**{name: own[name] for name in absent}, **state}, strict=True)


def read_weights(file: Path, *, who: str) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        UserError: if it holds no weights, or anything that is not a tensor or a plain value.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise UserError(f"encoder {who!r}: {file.name} cannot be read ({_line(error)})") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"encoder {who!r}: {file.name} holds more than tensors, and code in a file is not run; convert it to "
            "safetensors where you trust it"
        ) from error
    for key in _INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not (isinstance(held, Mapping) and held and all(map(torch.is_tensor, held.values()))):
        raise UserError(
            f"encoder {who!r}: {file.name} holds no weights by name; expected a state dict, alone or under "
            f"{' or '.join(_INSIDE)}"
        )
    return dict(held)


def _resized(name: str, tensor: Tensor, own: Tensor, network: VideoNetwork, *, who: str) -> Tensor:
    """A tensor of another shape in the shape of the network's own."""
    if network.is_head(name):
        return own
    if name not in network.positions:
        raise UserError(
            f"encoder {who}: {name} is {tuple(tensor.shape)}, and the network has {tuple(own.shape)}; expected the "
            f"weights of {network.published}"
        )
    warnings.warn(
        f"encoder {who}: the position table {name} is interpolated from {tensor.shape[1]} to {own.shape[1]} positions, "
        "as frame_count and crop_px ask for",
        stacklevel=2,
    )
    return network.positions[name](tensor.float(), own.shape[1]).to(tensor.dtype)


def _differences(missing: list[str], unknown: list[str]) -> str:
    named = [
        f"{kind} {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    return "; ".join(named)


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
