"""Sources of initial weights: a run, a model folder, a model on the hub, or a checkpoint of the public IISAN code."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from models.adaptation import merge
from models.items import TrainedEncoders
from models.items.part_names import part_name
from models.public_iisan.weights import begin_from_official, read_weights
from models.recommender import Model, Recommender
from models.runs.files import CONFIG as RUN_CONFIG
from models.runs.files import ENVIRONMENT, MODEL, read_environment, read_run_config
from models.runs.pretrained import CONFIG, base_of, digest_of, from_pretrained, model_folder
from models.transfer.parts import SEQUENCE, Part, parts_of
from toolkit.backbones.resolve import portable
from toolkit.digests import sha256_of
from toolkit.errors import UserError
from toolkit.json_files import read_json_object

_PUBLIC = (".pt", ".safetensors")  # files of the public code


@dataclass(frozen=True)
class Source:
    """A source of initial weights.

    Args:
        name: as the user typed it.
        digest: SHA-256 of its weights.
        parts: its parts by name.
        made_with: provenance of the states that its towers read (`models.inputs.provenance`); None if other code wrote
            the checkpoint and recorded none, so that it cannot be compared.
        lineage: its own lineage (`models.runs.lineage`); None if it began with new weights, or records none.
        unmovable: by part, why its weights cannot move.
    """

    name: str
    digest: str
    parts: Mapping[str, Part]
    made_with: Mapping[str, Any] | None = None
    lineage: dict[str, Any] | None = None
    unmovable: Mapping[str, str] = field(default_factory=dict)


def open_source(name: str, target: Model) -> Source:
    """Opens a source. Nothing in it is executed.

    Args:
        name: a run, a model folder or `owner/name` on the hub; or a .pt or .safetensors file of the public IISAN code.
        target: the model that the weights are for.

    Raises:
        UserError: if there is no such source, it cannot be read, or it is a checkpoint of another architecture than the
            target's.
    """
    path = Path(name)
    if not path.is_dir() and (path.is_file() or path.suffix in _PUBLIC):
        return _public(path, target)
    run = _run_of(path)
    try:
        folder = model_folder(path / MODEL if run == path else name)
        model = from_pretrained(folder, encoders=_places(run, folder, target))
    except UserError as error:
        raise UserError(f"init_from {name}: {error}") from None
    unmovable = _merge(model)
    return Source(
        name,
        digest_of(folder),
        parts_of(model),
        made_with=model.made_with,
        lineage=None if run is None else _lineage_of(run),
        unmovable=unmovable,
    )


def _public(path: Path, target: Model) -> Source:
    """A checkpoint of the public code, as the parts of a copy of the target that has its weights."""
    weights = read_weights(path)
    if not isinstance(target, Recommender):
        raise UserError(
            f"init_from {path}: the public code's weights are those of a sequential recommender; leave out init_from"
        )
    filled = deepcopy(target)
    begin_from_official(filled, weights, name=str(path))
    return Source(str(path), sha256_of(path), parts_of(filled))


def _run_of(path: Path) -> Path | None:
    """The run folder that a path leads into; None for a model folder alone.

    Raises:
        UserError: if the run has no model yet.
    """
    if (path / RUN_CONFIG).is_file():
        if not (path / MODEL / CONFIG).is_file():
            raise UserError(
                f"init_from {path}: the run has no model, because it ended before its first evaluation; continue it with "
                "--resume"
            )
        return path
    inside = path.name == MODEL and (path.parent / RUN_CONFIG).is_file()
    return path.parent if inside else None


def _lineage_of(run: Path) -> dict[str, Any] | None:
    recorded = read_environment(run) if (run / ENVIRONMENT).is_file() else {}
    return recorded.get("lineage")


def _places(run: Path | None, folder: Path, target: Model) -> dict[str, str]:
    """Where the base encoders of a model lie, by tower: as its run says, or where the target has the same."""
    if run is not None:
        return dict(base_of(read_run_config(run))["encoders"])
    if not isinstance(target.item_encoder, TrainedEncoders):
        return {}
    item = read_json_object(folder / CONFIG).get("item_encoder")
    theirs = item.get("encoders") if isinstance(item, dict) else None
    ours = target.item_encoder.chosen
    return {
        name: str(ours[name].encoder)
        for name, one in (theirs if isinstance(theirs, dict) else {}).items()
        if name in ours
        and isinstance(one, dict)
        and portable(str(ours[name].encoder)) == one.get("encoder")
    }


def _merge(model: Model) -> dict[str, str]:
    """Merges the adaptations of a model into its weights.

    Returns:
        By part, the reason where its weights cannot hold what the adaptation added.
    """
    unmovable: dict[str, str] = {}
    items = model.item_encoder
    if isinstance(items, TrainedEncoders):
        for tower, owner in items.owners.items():
            if tower == owner and (reason := _merged(items.encoders[part_name(tower)])):
                unmovable |= {name: reason for name, of in items.owners.items() if of == tower}
            elif tower == owner:
                _keep_merged(items, tower)
    if isinstance(model, Recommender) and (reason := _merged(model.sequence_encoder)):
        unmovable[SEQUENCE] = reason
    return unmovable


def _merged(encoder: nn.Module) -> str:
    """Merges an encoder's adaptation, if it has one; the reason if that is impossible."""
    adapted: Any = getattr(encoder, "adapted", None)
    if adapted is None:
        return ""
    try:
        merge(encoder, adapted.method)
    except UserError:
        return f"adapt {adapted.method} added modules to it, which its own weights cannot hold"
    return ""


def _keep_merged(items: TrainedEncoders, tower: str) -> None:
    """Counts the base of an encoder as its own if an adaptation was merged into it."""
    key = f"encoders.{part_name(tower)}."
    now = {name for name in items.state_dict() if name.startswith(key)}
    before = {name for name in items.loaded_names if name.startswith(key)}
    if not before <= now:  # peft's names are gone
        items.keep_base([tower])
