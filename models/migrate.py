"""What older Versas wrote, brought up to this one: config.yaml, a model folder's config.json, and names of weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from toolkit.errors import UserError

Kind = Literal["run", "model"]
Record = dict[str, Any]


def _as_it_is(record: Record) -> Record:
    return record


def _model_1(record: Record) -> Record:
    """Models did not record the digest of their weights, and before that not what their towers were made with."""
    return {"made_with": {}, "weights_sha256": None, **record}


def _model_2(record: Record) -> Record:
    """Side networks had one fusion, and numbered the parts of their towers (`named_by_tower`)."""
    encoder = record.get("item_encoder")
    if not isinstance(encoder, dict) or encoder.get("kind") != "side-network":
        return record
    return {**record, "item_encoder": {"fusion": {"kind": "concat"}, **encoder}}


# What leads from each format to the next; a record without a number is of format 0.
_STEPS: dict[Kind, tuple[Callable[[Record], Record], ...]] = {
    "run": (_as_it_is,),
    "model": (_as_it_is, _model_1, _model_2),
}
FORMATS: dict[Kind, int] = {kind: len(steps) for kind, steps in _STEPS.items()}


def migrate(record: Record, kind: Kind, *, where: Path) -> Record:
    """A record as this Versa writes it, without its format number.

    Args:
        record: as it was read.
        kind: what it is of.
        where: its file, for messages.

    Raises:
        UserError: if its format is newer than this Versa, or no format.
    """
    record = dict(record)
    found, newest = record.pop("format", 0), FORMATS[kind]
    if type(found) is not int or not 0 <= found <= newest:
        raise UserError(
            f"{where}: format {found}, and this Versa reads up to format {newest}; a newer Versa wrote it: "
            "upgrade versa-toolkit"
        )
    for step in _STEPS[kind][found:]:
        record = step(record)
    return record


def named_by_tower(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights under today's names: older Versas numbered the parts of a network that belong to towers.

    A part that was `intra.0` is `intra.title` now, the towers being in the same order.

    Args:
        tensors: by a name that begins with that of a parameter; of a model folder up to format 2, or a checkpoint up to
            format 2.
        model: that they are for.
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
