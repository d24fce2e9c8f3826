"""Opens a run folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.build import make_features
from models.config import ResidencyConfig, RunConfig
from models.recommender import Recommender
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
    run: str | Path, *, data: str | Path | None = None, device: torch.device | str = "cpu"
) -> TrainedRecommender:
    """Opens a run folder: its best model with a dataset.

    Args:
        run: folder that `models.train` wrote.
        data: where the dataset lies that the run was trained on, if not where it was; or another dataset with the
            run's towers, whose items need not have been trained on: all of them are recommended. Which of the two it
            is, its content says.
        device: where to compute.

    Raises:
        UserError: if the folder is no run or has no model yet, a file of it is damaged, the dataset has changed, or
            the states of another one are not those that the model reads.
    """
    return _open(run, data, device, other=data is not None)


def load_own(
    run: str | Path, *, data: str | Path | None = None, device: torch.device | str = "cpu"
) -> TrainedRecommender:
    """`load`, but of `data` it takes the run's own dataset alone, wherever it lies: what was measured must be of it.

    Raises:
        UserError: as `load` does, and if `data` is another dataset.
    """
    return _open(run, data, device, other=False)


def _open(
    run: str | Path, data: str | Path | None, device: torch.device | str, *, other: bool
) -> TrainedRecommender:
    run = a_path(run, name="run")
    config = read_run_config(run)
    if not (run / MODEL).is_dir():
        raise UserError(f"{run}: no model yet; the run ended before its first evaluation")
    if data is not None:
        config = replace(config, data=str(a_path(data, name="data")))
    dataset = open_data(run, config.data)
    model = from_pretrained(run / MODEL, **base_of(config)).to(device)
    differs = other_data(run, dataset, **config.reads)
    if differs is not None:
        if not other:
            raise UserError(differs)
        if not config.knows_new_items:
            raise UserError(
                f"{run}: {config.item_kind.noun} has one vector for each item that it was trained on and none for the "
                f"items of {config.data}; leave --data out, or take a run over content"
            )
        others = {key: config.reads[key] for key in ("towers", "encoders")}
        refuse_other_states(run, dataset, model.made_with, **others)
    _refuse_misfit(run, config, dataset, model)
    here = replace(config, residency=ResidencyConfig())  # not what suited the machine that trained
    features = make_features(here, dataset, item_encoder=model.item_encoder, device=device)
    ranked = None if differs is None else np.arange(1, dataset.items.num_rows + 1, dtype=np.int32)
    return TrainedRecommender(config, dataset, model, features, ranked=ranked)


def _refuse_misfit(run: Path, config: RunConfig, dataset: Dataset, model: Recommender) -> None:
    """Refuses a model folder that is of another run than config.yaml: files of a run may have been exchanged."""
    kind, settings = config.item_kind, model.item_encoder.settings()  # type: ignore[operator]
    stored = [] if kind.trains_encoders else [dataset.tower(name) for name in config.content]
    has = _inputs(settings.get("items"), [TowerSpec(**spec) for spec in settings.get("towers", ())])
    wants = _inputs(
        dataset.items.num_rows if "numbers" in kind.reads_of(config.towers) else None, stored
    )
    sequence = model.sequence_encoder
    length = sequence.settings()["max_len"]  # type: ignore[operator]
    kinds = (type(model.item_encoder), type(sequence))
    same_kinds = kinds == (kind.encoder, config.sequence_kind.encoder)
    if same_kinds and has == wants and length == config.sequence.max_len:
        return
    named = [name for name, one in SEQUENCES.items() if one.encoder is type(sequence)]
    raise UserError(
        f"{run / MODEL}: a model of {has} with sequence encoder {', '.join(named)} and max_len {length}, and the "
        f"run is one of {wants} with sequence encoder {config.sequence.kind} and max_len {config.sequence.max_len}; take model/ and "
        "config.yaml from one run"
    )


def _inputs(items: int | None, towers: list[TowerSpec]) -> str:
    """What an item encoder reads, in words."""
    shapes = [(spec.name, spec.layers, spec.width) for spec in towers]
    counts = [] if items is None else [f"{items} items"]
    return " and ".join([*counts, *([f"towers {shapes}"] if shapes else [])])
