"""A run folder, and the trained recommender in it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.best import USERS_AT_ONCE, best_items, users_at_once
from models.config import ResidencyConfig, RunConfig, load_run_config
from models.features import Features, ItemNumbers, StoredStates, load_live
from models.histories import Histories, item_numbers, list_histories
from models.made_with import describe_towers
from models.pretrained import from_pretrained
from models.ranking import Catalogue, encode_catalogue, make_catalogue
from models.recommender import Recommender
from toolkit import schema
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.progress import track
from toolkit.splits import Ints, Splits
from toolkit.store import read_json

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
MODEL = "model"


def load(
    run: str | Path, *, data: str | Path | None = None, device: torch.device | str = "cpu"
) -> "TrainedRecommender":
    """Opens a run folder: its best model with a dataset.

    Args:
        run: folder that `models.train` wrote.
        data: another dataset with the run's towers; its items need not have been trained on, and all of
            them are recommended. By default the dataset that the run was trained on.
        device: where to compute.

    Raises:
        UserError: if the folder is no run or has no model yet, if the dataset has changed, or if the
            states of another one are not those that the model reads.
    """
    run = Path(run)
    if not (run / CONFIG).exists():
        raise UserError(
            f"{run}: no {CONFIG} here, so this is no run folder; train one with models.train"
        )
    if not (run / MODEL).is_dir():
        raise UserError(f"{run}: no model yet; the run ended before its first evaluation")
    config = load_run_config(run / CONFIG)
    if data is not None:
        if config.item == "id":
            raise UserError(
                f"{run}: an ID model has one vector for each item that it was trained on and none for the "
                f"items of {data}; leave --data out, or take a run over content"
            )
        config = replace(config, data=str(data))
    dataset = open_dataset(config.data)
    model = from_pretrained(run / MODEL).to(device)
    if data is None:
        _refuse_changed(run, config, dataset)
    else:
        _refuse_other_states(run, config, dataset, model.made_with)
    here = replace(config, residency=ResidencyConfig())  # not what suited the machine that trained
    features = make_features(here, dataset, device=device)
    ranked = None if data is None else np.arange(1, dataset.items.num_rows + 1, dtype=np.int32)
    return TrainedRecommender(config, dataset, model, features, ranked=ranked)


def _refuse_changed(run: Path, config: RunConfig, dataset: Dataset) -> None:
    trained_on = read_json(run / ENVIRONMENT)["dataset"]
    for key, now in describe_dataset(config, dataset).items():
        if trained_on.get(key) != now:
            raise UserError(
                f"{run}: trained on {key} {trained_on.get(key)}, and {config.data} now has {now}; "
                "restore that dataset or train again"
            )


def _refuse_other_states(
    run: Path, config: RunConfig, dataset: Dataset, made_with: dict[str, Any]
) -> None:
    """Refuses another dataset whose states the model cannot read as it read those it was trained on."""
    if not made_with:
        raise UserError(
            f"{run}: an older Versa trained it, and does not say what its towers' states were made with; "
            "train again, or leave --data out"
        )
    then, now = map(_told, (made_with, describe_towers(dataset, config.towers)))
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            raise UserError(
                f"{run}: trained on states with {key} {then.get(key)!r}, and {config.data} has "
                f"{now.get(key)!r}; the model reads none but such states: encode that dataset with the same settings"
            )


def _told(made_with: dict[str, Any]) -> dict[str, Any]:
    """What states depend on, by what messages call it. In which type they are stored is prep's choice."""
    aside = ("dtype", "items", "layers")  # `kept` says which layers
    towers = {
        f"tower {name} {key}": value
        for name, tower in made_with["encode"].items()
        for key, value in tower.items()
        if key not in aside
    }
    return towers | {f"media {key}": value for key, value in made_with["media"].items()}


def describe_dataset(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What a model depends on in its dataset: the items behind its numbers, the encoders of its towers.

    Returns:
        `items_sha256` over the item ids in order, and for each tower of the run what its states
        were made with.
    """
    ids = "\n".join(dataset.item_ids.ids)
    towers = {name: dataset.states_metadata(name) for name in config.towers}
    return {
        "items_sha256": hashlib.sha256(ids.encode()).hexdigest(),
        **{f"tower {name}": _encoder_of(about) for name, about in towers.items()},
    }


def _encoder_of(about: dict[str, str]) -> str:
    """The part of a tower's metadata that its states depend on, as words."""
    keys = ("encoder", "revision", "kept", "pooling", "precision", "dtype", "source", "captions")
    return ", ".join(f"{key}={about[key]}" for key in keys if key in about)


def make_features(
    config: RunConfig, dataset: Dataset, *, device: torch.device | str = "cpu"
) -> Features:
    """What the run's item encoder reads."""
    if config.item == "id":
        return ItemNumbers(dataset.items.num_rows, device=device)
    if not config.towers:
        raise UserError(
            "towers: none named; use a preset (--config text-only) or --towers '[title]'; "
            f"stored in {config.data}: {dataset.towers() or 'none'}"
        )
    if config.states == "live":
        return load_live(dataset, config.towers, device=device)
    tables = {name: dataset.state_table(name) for name in config.towers}
    return StoredStates(tables, device=device, **asdict(config.residency))


class TrainedRecommender:
    """A trained model together with a dataset.

    Args:
        config: of the run.
        dataset: whose items the model encodes.
        model: in evaluation mode.
        features: what its item encoder reads.
        ranked: numbers of the items that are recommended, ascending; those of the truncated data by
            default.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        model: Recommender,
        features: Features,
        *,
        ranked: Ints | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.model = model.eval()
        self.features = features
        self._ranked = ranked

    def __repr__(self) -> str:
        return (
            f"TrainedRecommender({self.config.item!r}, towers={self.config.towers}, {self.dataset})"
        )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    @cached_property
    def splits(self) -> Splits:
        """The data under the run's own protocol."""
        return self.dataset.splits(
            protocol=self.config.protocol, max_len=self.config.sequence.max_len
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The encoded items that are recommended: those of the truncated data, or all of another dataset."""
        ranked = self.splits.catalogue if self._ranked is None else self._ranked
        return encode_catalogue(self.model, self.features, ranked, device=self.device)

    def item_embeddings(self) -> Tensor:
        """(N + 1, E); row 0 (padding) is zeros."""
        return self.catalogue.embeddings.cpu()

    def user_states(self, histories: Histories | Sequence[Sequence[str]]) -> Tensor:
        """(S, E): the model's state after each history; its dot product with an item's embedding is the score.

        Args:
            histories: as `recommend` takes them.

        Raises:
            UserError: as `recommend` does.
        """
        found = self._histories(histories)
        parts = [self._encode(found[rows]).cpu() for rows in _blocks(len(found), USERS_AT_ONCE)]
        return torch.cat([self.catalogue.embeddings[:0].cpu(), *parts])

    def recommend(
        self,
        histories: Histories | Sequence[Sequence[str]],
        k: int = 10,
        *,
        items: Sequence[str] | None = None,
        progress: bool = False,
    ) -> pa.Table:
        """The k best items for each history; items of the history are left out.

        Args:
            histories: item ids in time order, the newest last. An empty history is refused.
            k: how many; fewer are returned where fewer are left.
            items: ids of those that may be recommended: any that have states, trained on or not; of an
                ID model, those of the catalogue. By default all of the catalogue.
            progress: whether to draw a bar.

        Returns:
            A table `row, rank, item_id, score`: row is the history's place, rank starts at 1; equal
            scores go by item number.

        Raises:
            UserError: if a history is empty, an id is unknown, an item cannot be recommended, or k is
                below 1.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        found = self._histories(histories)
        catalogue = self.catalogue if items is None else self._limited_to(items)
        blocks = _blocks(len(found), users_at_once(catalogue))
        parts = [
            self._recommend(found[rows], rows.start, k, catalogue)
            for rows in track(blocks, "recommend", total=len(blocks), enabled=progress)
        ]
        return pa.concat_tables([schema.RECOMMENDATIONS.empty_table(), *parts])

    def _histories(self, histories: Histories | Sequence[Sequence[str]]) -> Histories:
        if isinstance(histories, Histories):
            return histories
        return list_histories(histories, self.dataset)

    def _limited_to(self, items: Sequence[str]) -> Catalogue:
        """The catalogue of these items alone."""
        if not len(items):
            raise UserError("items: none given, so none can be recommended; leave them out for all")
        numbers = np.unique(item_numbers(items, self.dataset))
        untrained = numbers[self.catalogue.column.cpu().numpy()[numbers] < 0]
        if self.config.item == "id" and len(untrained):
            raise UserError(
                f"{len(untrained):,} of the items to recommend (the first is "
                f"{self.dataset.item_ids.id(int(untrained[0]))!r}) are outside the catalogue, and an ID model "
                "has learnt nothing of them; leave them out, or take a run over content"
            )
        return make_catalogue(self.catalogue.embeddings, self.features.same_as(), numbers)

    @torch.no_grad()
    def _encode(self, histories: Histories) -> Tensor:
        """(B, E)."""
        inputs = histories.inputs(self.config.sequence.max_len).astype(np.int64)
        return self.model.encode_users(
            torch.from_numpy(inputs).to(self.device), self.catalogue.embeddings
        )

    def _recommend(
        self, histories: Histories, start: int, k: int, catalogue: Catalogue
    ) -> pa.Table:
        """Rows `start` onwards."""
        rows, seen = histories.pairs()
        hidden = [torch.from_numpy(part.astype(np.int64)).to(self.device) for part in (rows, seen)]
        best = best_items(self._encode(histories), catalogue, (hidden[0], hidden[1]), k)
        ids = self.dataset.items.column("item_id").take(pa.array(best.items - 1))
        return pa.table(
            [best.rows + start, best.ranks, ids, best.scores], schema=schema.RECOMMENDATIONS
        )


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
