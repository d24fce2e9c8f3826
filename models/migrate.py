"""Migrates files of older versions to the current format: config.yaml, config.json of a model folder, weight names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from toolkit.errors import UserError

Kind = Literal["run", "model"]
Record = dict[str, Any]


def _unchanged(record: Record) -> Record:
    return record


def _model_1(record: Record) -> Record:
    """Adds the digest of the weights and the provenance of the towers, which models of format 1 may lack."""
    return {"made_with": {}, "weights_sha256": None, **record}


def _model_2(record: Record) -> Record:
    """Adds the fusion of a side network, which was always `concat`. `named_by_tower` renames its weights."""
    encoder = record.get("item_encoder")
    if not isinstance(encoder, dict) or encoder.get("kind") != "side-network":
        return record
    return {**record, "item_encoder": {"fusion": {"kind": "concat"}, **encoder}}


# The migrations from each format to the next; a record without a format number has format 0.
_STEPS: dict[Kind, tuple[Callable[[Record], Record], ...]] = {
    "run": (_unchanged,),
    "model": (_unchanged, _model_1, _model_2),
}
FORMATS: dict[Kind, int] = {kind: len(steps) for kind, steps in _STEPS.items()}


def migrate(record: Record, kind: Kind, *, where: Path) -> Record:
    """Migrates a record to the current format, and removes its format number.

    Args:
        record: content of the file.
        kind: `run` for config.yaml, `model` for config.json.
        where: path of the file, for messages.

    Raises:
        UserError: if the format is newer than this version, or is not a format number.
    """
    record = dict(record)
    version, newest = record.pop("format", 0), FORMATS[kind]
    if type(version) is not int or not 0 <= version <= newest:
        raise UserError(
            f"{where}: format {version}, but this version reads formats up to {newest}; a newer Versa wrote the file: "
            "upgrade versa-toolkit"
        )
    for step in _STEPS[kind][version:]:
        record = step(record)
    return record


def named_by_tower(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights under the current names: older versions numbered the parts of towers.

    For example, `intra.0` is now `intra.title`. The towers have the same order.

    Args:
        tensors: tensors of a model folder or checkpoint up to format 2, by a name that starts with a parameter's name.
        model: the model that loads them.
    """
    prefixes = {
        f"{path}.{number}.": f"{path}.{name}."
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleDict)
        for number, name in enumerate(module)
    }
    renamed = {}
    for name, tensor in tensors.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        renamed[prefixes.get(old, "") + name.removeprefix(old)] = tensor
    return renamed
