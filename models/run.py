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
from numpy.typing import NDArray
from torch import Tensor

from models.config import ResidencyConfig, RunConfig, load_run_config
from models.features import Features, ItemNumbers, StoredStates, load_live
from models.pretrained import from_pretrained
from models.ranking import Catalogue, encode_catalogue, score
from models.recommender import Recommender
from toolkit import schema
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.splits import Splits, cut
from toolkit.store import read_json

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
MODEL = "model"
USERS_AT_ONCE = 256


def load(run: str | Path, *, device: torch.device | str = "cpu") -> "TrainedRecommender":
    """Opens a run folder: its best model with the dataset it was trained on.

    Args:
        run: folder that `models.train` wrote.
        device: where to compute.

    Raises:
        UserError: if the folder is no run, has no model yet, or its dataset has changed.
    """
    run = Path(run)
    if not (run / CONFIG).exists():
        raise UserError(
            f"{run}: no {CONFIG} here, so this is no run folder; train one with models.train"
        )
    if not (run / MODEL).is_dir():
        raise UserError(f"{run}: no model yet; the run ended before its first evaluation")
    config = load_run_config(run / CONFIG)
    dataset = open_dataset(config.data)
    trained_on = read_json(run / ENVIRONMENT)["dataset"]
    for key, now in describe_dataset(config, dataset).items():
        if trained_on.get(key) != now:
            raise UserError(
                f"{run}: trained on {key} {trained_on.get(key)}, and {config.data} now has {now}; "
                "restore that dataset or train again"
            )
    model = from_pretrained(run / MODEL).to(device)
    here = replace(config, residency=ResidencyConfig())  # not what suited the machine that trained
    return TrainedRecommender(config, dataset, model, make_features(here, dataset, device=device))


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
    """A trained model together with its dataset.

    Args:
        config: of the run.
        dataset: it was trained on.
        model: in evaluation mode.
        features: what its item encoder reads.
    """

    def __init__(
        self, config: RunConfig, dataset: Dataset, model: Recommender, features: Features
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.model = model.eval()
        self.features = features

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
        """The encoded catalogue of the truncated data."""
        return encode_catalogue(
            self.model, self.features, self.splits.catalogue, device=self.device
        )

    def item_embeddings(self) -> Tensor:
        """(N + 1, E); row 0 (padding) is zeros."""
        return self.catalogue.embeddings.cpu()

    def recommend(self, histories: Sequence[Sequence[str]], k: int = 10) -> pa.Table:
        """The k best items of the catalogue for each history; items of the history are left out.

        Args:
            histories: item ids in time order, the newest last. An empty history is refused.
            k: how many; fewer are returned where the catalogue has fewer left.

        Returns:
            A table `row, rank, item_id, score`: row is the history's place, rank starts at 1.

        Raises:
            UserError: if a history is empty, an id is unknown, or k is below 1.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        numbers = [self.dataset.item_ids.numbers(history) for history in histories]
        empty = next((row for row, history in enumerate(numbers) if not len(history)), None)
        if empty is not None:
            raise UserError(
                f"history {empty} is empty; a sequential recommender needs at least one item"
            )
        parts = [
            self._recommend(start, numbers[start : start + USERS_AT_ONCE], k)
            for start in range(0, len(numbers), USERS_AT_ONCE)
        ]
        return pa.concat_tables([schema.RECOMMENDATIONS.empty_table(), *parts])

    @torch.no_grad()
    def _recommend(self, start: int, histories: list[NDArray[np.int32]], k: int) -> pa.Table:
        """Rows `start` onwards: the best items of a few histories."""
        stops = np.cumsum([len(history) for history in histories])
        starts = stops - [len(history) for history in histories]
        flat = np.concatenate(histories)
        length = self.config.sequence.max_len
        inputs = cut(flat, np.maximum(starts, stops - length), stops, width=length)
        users = self.model.encode_users(
            torch.from_numpy(inputs.astype(np.int64)).to(self.device), self.catalogue.embeddings
        )
        items = torch.from_numpy(self.splits.catalogue.astype(np.int64)).to(self.device)
        scores = score(users, self.catalogue)[:, self.catalogue.column[items]]
        seen = torch.from_numpy(cut(flat, starts, stops).astype(np.int64)).to(self.device)
        scores.masked_fill_(_members(seen, items), -torch.inf)
        best = scores.topk(min(k, len(items)), dim=1)
        found = torch.isfinite(best.values)  # fewer than k where the catalogue has fewer left
        rows, places = found.nonzero(as_tuple=True)
        ids = self.dataset.items.column("item_id")
        return pa.table(
            [
                (rows + start).cpu().numpy(),
                (places + 1).int().cpu().numpy(),
                ids.take(pa.array((items[best.indices[found]] - 1).cpu().numpy())),
                best.values[found].cpu().numpy(),
            ],
            schema=schema.RECOMMENDATIONS,
        )


def _members(seen: Tensor, items: Tensor) -> Tensor:
    """(B, C): whether each of C ascending item numbers stands in each row of (B, H)."""
    places = torch.searchsorted(items, seen).clamp(max=len(items) - 1)
    known = items[places] == seen
    hidden = torch.zeros(len(seen), len(items), dtype=torch.bool, device=items.device)
    rows = known.nonzero()[:, 0]
    hidden[rows, places[known]] = True
    return hidden
