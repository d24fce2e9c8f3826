"""Builds a network from the files of a model folder, which may be untrusted.

A network that the weights cannot fill is refused before it is built.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.fusion import FUSIONS
from models.general import GENERAL, GeneralKind, GeneralRecommender
from models.items import ITEMS, ItemKind
from models.items.encoder_settings import EncoderSettings
from models.migrate import named_by_tower
from models.parameters import kept_state, load_kept_state
from models.recommender import Model, Recommender
from models.runs.adapter_files import adapter_weights, adapters_of
from models.sequence import SEQUENCES, SequenceKind
from toolkit.digests import sha256_of
from toolkit.errors import UserError

Kinds = Mapping[str, ItemKind] | Mapping[str, SequenceKind] | Mapping[str, GeneralKind]
# The parts of a model, by the names that they have in it and in config.json.
PARTS: dict[str, Kinds] = {
    "item_encoder": ITEMS,
    "sequence_encoder": SEQUENCES,
    "general": GENERAL,
}
_SEQUENTIAL = ("item_encoder", "sequence_encoder")
_COUNTS = {
    "items",
    "users",
    "interactions",
    "known",
}  # sizes of tables, never of the same tensor but by their width
_DEPTHS = {"layers", "blocks", "mlp"}
_MAX_DEPTH = 4096  # kept layers of a tower, or blocks


class Weights:
    """The tensors of a model folder.

    Args:
        path: its `model.safetensors`.
        tensors: the tensors of this file by name.
        adapters: those of the files of its adapters (`models.runs.adapter_files`) by path in the folder, under peft's
            names.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        adapters: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.path = path
        self.tensors = tensors
        self.adapters = adapters or {}

    @property
    def values(self) -> int:
        """Number of values in all tensors."""
        parts = (self.tensors, *self.adapters.values())
        return sum(tensor.numel() for part in parts for tensor in part.values())

    def named_by_tower(self, model: nn.Module) -> "Weights":
        """The weights of a folder of format 2 or older, under the current names."""
        return Weights(self.path, named_by_tower(self.tensors, model))

    def load_into(self, model: nn.Module) -> None:
        """Loads the weights into a model.

        Raises:
            UserError: if they do not fit the model, or are not finite.
        """
        parameters = kept_state(model)
        saved = {**self.tensors, **self._named_by_model(model)}
        for name in sorted({*parameters, *saved}):
            expected, actual = (_shape(tensors.get(name)) for tensors in (parameters, saved))
            if actual != expected:
                raise UserError(
                    f"{self.path}: the weights do not fit the model's config.json: {name} is {actual}, expected "
                    f"{expected}; use both files of the same run"
                )
        for name, tensor in saved.items():
            if not torch.isfinite(tensor).all():
                raise UserError(
                    f"{self.path}: {name} has values that are not finite; the model diverged, or the file is damaged"
                )
        load_kept_state(model, saved, assign=True)

    def _named_by_model(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of the adapters under the names that the model has for them."""
        named: dict[str, Tensor] = {}
        for adapter in adapters_of(model) if self.adapters else []:
            tensors = self.adapters.get(adapter.file, {})
            named |= {
                ours: tensors[theirs] for ours, theirs in adapter.names.items() if theirs in tensors
            }
        return named

    def refuse_changed(self, recorded: Any) -> None:
        """Refuses a file that has changed since it was saved.

        Args:
            recorded: SHA-256 digests in config.json; None if an older Versa wrote it.

        Raises:
            UserError: if the file has none of these digests.
        """
        if recorded is None:
            return
        digest = weights_digest(
            {file: sha256_of(self.path.parent / file) for file in (self.path.name, *self.adapters)}
        )
        if not isinstance(recorded, list) or digest not in recorded:
            raise UserError(
                f"{self.path}: changed since it was saved (SHA-256 is {digest}, config.json has {recorded}); restore "
                "the file, or train again"
            )


def weights_digest(digests: Mapping[str, str]) -> str:
    """The digest of the weights of a model folder: that of the only file, or one over the digests of several.

    Args:
        digests: SHA-256 of each file, by its path in the folder.
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{file} {digests[file]}\n" for file in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_weights(path: Path) -> Weights:
    """Reads the weights of a model folder.

    Args:
        path: its `model.safetensors`; adapters lie beside it.

    Raises:
        UserError: if a file is not a safetensors file, or is damaged.
    """
    files = adapter_weights(path.parent)
    return Weights(path, _read(path), {file: _read(path.parent / file) for file in files})


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a readable file of weights ({_in_one_line(error)}); restore the file, or train again"
        ) from None


def build_model(config: Mapping[str, Any], weights: Weights, *, where: Path) -> Model:
    """Builds the network that a model's config describes, without loading the weights.

    Args:
        config: content of config.json.
        weights: the weights of the model, which bound the size of the network.
        where: path of config.json, for messages.

    Raises:
        UserError: if a setting is missing, unknown, of the wrong type or out of range.
    """
    made_with = config.get("made_with", {})
    if not isinstance(made_with, dict):
        raise UserError(
            f"{where}: made_with is {made_with!r}, expected an object; restore the file"
        )
    parts = _SEQUENTIAL if "general" not in config else [name for name in PARTS if name in config]
    for part in parts:
        _check_part(config.get(part), part, PARTS[part], weights, where)
    # The meta device would avoid initial weights that are discarded, but costs seconds of imports.
    with torch.random.fork_rng(devices=[]):
        built = {part: _build(config[part], part, where) for part in parts}
    if "general" in built:
        item_encoder = built.get("item_encoder")
        return GeneralRecommender(built["general"], item_encoder=item_encoder, made_with=made_with)
    return Recommender(*(built[part] for part in _SEQUENTIAL), made_with=made_with)


def parts_of(model: Model) -> dict[str, nn.Module]:
    """The parts of a model, by their names in config.json."""
    return {part: module for part in PARTS if (module := getattr(model, part, None)) is not None}


def _check_part(settings: Any, part: str, kinds: Kinds, weights: Weights, where: Path) -> None:
    if not isinstance(settings, dict):
        raise UserError(f"{where}: {part} is {settings!r}, expected its settings; restore the file")
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(
            f"{where}: {part}: model kind {kind!r} is unknown; known: {list(kinds)}; to use your own kind, import the "
            "module that registers it first"
        )
    booleans = _booleans(kinds[kind].module)
    for name, value in _numbers(settings, booleans):
        limit = _MAX_DEPTH if name in _DEPTHS else weights.values
        if isinstance(value, bool) or value < 0 or (value > limit and isinstance(value, int)):
            raise UserError(
                f"{where}: {part}: {name} is {value}, which does not fit the weights in the folder; restore the file"
            )
    # Any two sizes may be those of one tensor. A network a hundred times the size of its weights would only fill memory.
    numbers = [(name, x) for name, x in _numbers(settings, booleans) if isinstance(x, int)]
    sizes = sorted(value for name, value in numbers if name not in _COUNTS)
    sizes = sorted([*sizes, max((value for name, value in numbers if name in _COUNTS), default=1)])
    if len(sizes) > 1 and sizes[-1] * sizes[-2] > max(100 * weights.values, 1 << 24):
        raise UserError(
            f"{where}: {part}: sizes {sizes[-2]:,} and {sizes[-1]:,} describe a network much larger than the weights in "
            "the folder; restore the file"
        )


def _booleans(module: type[nn.Module]) -> set[str]:
    """The names of the arguments of a module and of fusions, and of the settings of encoders, that are true or false."""
    modules = [module, *(kind.fusion for kind in FUSIONS.values())]
    arguments = [pair for one in modules for pair in signature(one).parameters.items()]
    own = {name for name, argument in arguments if argument.annotation in (bool, "bool")}
    return own | {field.name for field in fields(EncoderSettings) if "bool" in str(field.type)}


def _numbers(
    settings: Any, booleans: Collection[str], name: str = ""
) -> Iterator[tuple[str, int | float]]:
    """Every number in some settings, with its key; a boolean too, unless its key is one of `booleans`."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            numbers = _numbers(value, booleans, str(key))
            if key == "adapt_settings":  # a method checks its types
                yield from (pair for pair in numbers if not isinstance(pair[1], bool))
            elif not (key in booleans and isinstance(value, bool)):
                yield from numbers
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _numbers(value, booleans, name)
    elif isinstance(settings, int | float):
        yield name, settings


def _build(settings: dict[str, Any], part: str, where: Path) -> nn.Module:
    arguments = {key: value for key, value in settings.items() if key != "kind"}
    try:
        return PARTS[part][settings["kind"]].load(arguments)
    except UserError:  # a base encoder is missing or has changed
        raise
    except Exception as error:  # torch and Python raise many types for invalid settings
        raise UserError(
            f"{where}: {part}: not the settings of a {settings['kind']} ({_in_one_line(error)}); restore the file"
        ) from None


def _shape(tensor: Tensor | None) -> str:
    return (
        "missing"
        if tensor is None
        else f"{tuple(tensor.shape)} of {tensor.dtype}".replace("torch.", "")
    )


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
