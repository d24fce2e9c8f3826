"""Opens a run folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.build import make_features
from models.config import ResidencyConfig, RunConfig
from models.general import GENERAL, GeneralRecommender
from models.recommender import Model
from models.runs.files import MODEL, read_run_config
from models.runs.identity import open_data, other_data, refuse_other_states
from models.runs.pretrained import base_of, from_pretrained
from models.runs.trained import TrainedRecommender
from models.sequence import SEQUENCES
from toolkit.arguments import a_path
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.towers import TowerSpec


def load(
    run: str | Path,
    *,
    data: str | Path | None = None,
    device: torch.device | str = "cpu",
    encoders: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> TrainedRecommender:
    """Opens a run folder: its best model with a dataset.

    Args:
        run: folder that `models.train` wrote.
        data: dataset folder; by default the path in the run's config. Either the training dataset at a new path, or
            another dataset with the run's towers; their content decides. All items of another dataset can be
            recommended, including items that the model was not trained on.
        device: device of the model.
        encoders: by tower, the path of the base encoder of a run of trained encoders, if it has moved.
        trust_remote_code: runs code that comes with the base encoders.

    Raises:
        UserError: if the folder is not a run or has no model yet; if one of its files is damaged; if the dataset has
            changed; if the model cannot read the states of another dataset; or if a base encoder is missing or has
            changed.
    """
    run = a_path(run, name="run")
    config = _with_encoders(read_run_config(run), encoders or {}, trust=trust_remote_code, run=run)
    return _open(run, config, data, device, other=data is not None)


def load_own(
    run: str | Path, *, data: str | Path | None = None, device: torch.device | str = "cpu"
) -> TrainedRecommender:
    """Like `load`, but accepts the run's own dataset only, so that measurements are of the data of the run.

    Raises:
        UserError: as `load` does, and if `data` is another dataset.
    """
    run = a_path(run, name="run")
    return _open(run, read_run_config(run), data, device, other=False)


def _with_encoders(
    config: RunConfig, encoders: Mapping[str, str], *, trust: bool, run: Path
) -> RunConfig:
    """The config with base encoders at other paths."""
    unknown = sorted(set(encoders) - set(config.encoders))
    if unknown:
        raise UserError(
            f"encoders names {', '.join(unknown)}, but {run} trains encoders of "
            f"{', '.join(config.encoders) or 'no tower'}"
        )
    placed = {
        name: replace(one, encoder=encoders.get(name, one.encoder), trust_remote_code=trust)
        for name, one in config.encoders.items()
    }
    return replace(config, encoders=placed)


def _open(
    run: Path,
    config: RunConfig,
    data: str | Path | None,
    device: torch.device | str,
    *,
    other: bool,
) -> TrainedRecommender:
    if not (run / MODEL).is_dir():
        raise UserError(
            f"{run}: the run has no model, because it ended before its first evaluation; continue it with --resume"
        )
    if data is not None:
        config = replace(config, data=str(a_path(data, name="data")))
    dataset = open_data(run, config.data)
    model = from_pretrained(run / MODEL, **base_of(config)).to(device)
    difference = other_data(run, dataset, config.reads)
    if difference is not None:
        if not other:
            raise UserError(difference)
        if not config.knows_new_items:
            raise UserError(
                f"{run}: {config.noun} has vectors for its training items only, and none for the items of "
                f"{config.data}; leave out --data, or use a run that reads content"
            )
        refuse_other_states(run, dataset, model.made_with, config.reads)
    _refuse_misfit(run, config, dataset, model)
    # The default residency: the run's own was chosen for the machine that trained it.
    local = replace(config, residency=ResidencyConfig())
    features = make_features(local, dataset, item_encoder=model.item_encoder, device=device)
    ranked = None
    if difference is not None:
        ranked = np.arange(1, dataset.items.num_rows + 1, dtype=np.int32)
    return TrainedRecommender(config, dataset, model, features, ranked=ranked)


def _refuse_misfit(run: Path, config: RunConfig, dataset: Dataset, model: Model) -> None:
    """Refuses a model folder that does not fit config.yaml, as when the two come from different runs."""
    found, expected = _of_model(model), _of_config(config, dataset)
    if found == expected:
        return
    raise UserError(
        f"{run / MODEL}: the model reads {found[-1]}, but the run's config reads {expected[-1]}; use model/ and "
        "config.yaml of the same run"
    )


def _of_model(model: Model) -> tuple[Any, ...]:
    """The classes of a model's parts, and what they read, in words."""
    settings = {} if model.item_encoder is None else model.item_encoder.settings()  # type: ignore[operator]
    specs = [TowerSpec(**spec) for spec in settings.get("towers", ())]
    if isinstance(model, GeneralRecommender):
        own = model.general.settings()
        inputs = _describe_inputs(settings.get("items", own.get("items")), specs)
        names = [name for name, kind in GENERAL.items() if kind.module is type(model.general)]
        return type(model.item_encoder), f"{inputs} with recommender {', '.join(names)}".strip()
    inputs = _describe_inputs(settings.get("items"), specs)
    sequence = model.sequence_encoder
    length = sequence.settings()["max_len"]  # type: ignore[operator]
    names = [name for name, known in SEQUENCES.items() if known.encoder is type(sequence)]
    words = f"{inputs} with sequence encoder {', '.join(names)} and max_len {length}"
    return type(model.item_encoder), words


def _of_config(config: RunConfig, dataset: Dataset) -> tuple[Any, ...]:
    """As `_of_model`, of the model that a config describes."""
    kind, general = config.item_kind, config.general_kind
    stored = [] if kind.trains_encoders else [dataset.tower(name) for name in config.content]
    reads_numbers = not config.encodes_items or "numbers" in kind.reads_of(config.towers)
    specs = stored if config.encodes_items else []
    inputs = _describe_inputs(dataset.items.num_rows if reads_numbers else None, specs)
    encoder = kind.encoder if config.encodes_items else type(None)
    if general is not None:
        return encoder, f"{inputs} with recommender {config.recommender.kind}".strip()
    sequence = f"sequence encoder {config.sequence.kind} and max_len {config.sequence.max_len}"
    return encoder, f"{inputs} with {sequence}"


def _describe_inputs(items: int | None, towers: list[TowerSpec]) -> str:
    """The inputs of an item encoder, for a message."""
    shapes = [(spec.name, spec.layers, spec.width) for spec in towers]
    counts = [] if items is None else [f"{items} items"]
    return " and ".join([*counts, *([f"towers {shapes}"] if shapes else [])])
