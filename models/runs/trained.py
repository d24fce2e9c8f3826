"""A run folder, and the trained recommender in it."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.config import RunConfig
from models.inputs.features import Features
from models.inputs.histories import Histories, item_numbers, list_histories
from models.ranking.catalogue import Catalogue, encode_catalogue, make_catalogue
from models.ranking.top_k import USERS_AT_ONCE, TopK, top_k_items, users_at_once
from models.recommender import Recommender
from toolkit import schema
from toolkit.arguments import whole_number
from toolkit.console.progress import track
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.ids import as_ids
from toolkit.splits import Ints, Splits


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

    def user_states(self, histories: Histories | Sequence[Sequence[str | int]]) -> Tensor:
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
        histories: Histories | Sequence[Sequence[str | int]],
        k: int = 10,
        *,
        items: Sequence[str | int] | None = None,
        progress: bool = False,
    ) -> pa.Table:
        """The k best items for each history; items of the history are left out.

        Args:
            histories: item ids in time order, the newest last; whole numbers are their digits (`toolkit.ids.as_ids`).
                An empty history is refused.
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
        ids = self.dataset.items.column("item_id")
        parts = [
            pa.table(
                [top_k.rows, top_k.ranks, ids.take(pa.array(top_k.items - 1)), top_k.scores],
                schema=schema.RECOMMENDATIONS,
            )
            for top_k in self.top_items(histories, k, items=items, progress=progress)
        ]
        return pa.concat_tables([schema.RECOMMENDATIONS.empty_table(), *parts])

    def top_items(
        self,
        histories: Histories | Sequence[Sequence[str | int]],
        k: int = 10,
        *,
        items: Sequence[str | int] | None = None,
        progress: bool = False,
    ) -> Iterator[TopK]:
        """`recommend` by item number, a block of users at a time; arguments and errors are the same."""
        k = whole_number(k, name="k")
        found = self._histories(histories)
        catalogue = self.catalogue if items is None else self._limited_to(items)
        blocks = _blocks(len(found), users_at_once(catalogue))
        for rows in track(blocks, "recommend", total=len(blocks), enabled=progress):
            top_k = self._top_items(found[rows], k, catalogue)
            yield top_k._replace(rows=top_k.rows + rows.start)

    def _histories(self, histories: Histories | Sequence[Sequence[str | int]]) -> Histories:
        if isinstance(histories, Histories):
            return histories
        return list_histories(histories, self.dataset)

    def _limited_to(self, items: Sequence[str | int]) -> Catalogue:
        """The catalogue of these items alone."""
        ids = as_ids(items, what="items", one="item id")
        if not ids:
            raise UserError("items: none given, so none can be recommended; leave them out for all")
        numbers = np.unique(item_numbers(ids, self.dataset))
        untrained = numbers[self.catalogue.column.cpu().numpy()[numbers] < 0]
        kind = self.config.item_kind
        if not kind.knows_new_items and len(untrained):
            raise UserError(
                f"{len(untrained):,} of the items to recommend (the first is "
                f"{self.dataset.item_ids.id(int(untrained[0]))!r}) are outside the catalogue, and {kind.noun} "
                "has learnt nothing of them; leave them out, or take a run over content"
            )
        return make_catalogue(self.catalogue.embeddings, self.features.same_as(), numbers)

    def _top_items(self, histories: Histories, k: int, catalogue: Catalogue) -> TopK:
        rows, seen = (
            torch.from_numpy(part.astype(np.int64)).to(self.device) for part in histories.pairs()
        )
        return top_k_items(self._encode(histories), catalogue, (rows, seen), k)

    @torch.no_grad()
    def _encode(self, histories: Histories) -> Tensor:
        """(B, E)."""
        inputs = histories.inputs(self.config.sequence.max_len).astype(np.int64)
        return self.model.encode_users(
            torch.from_numpy(inputs).to(self.device), self.catalogue.embeddings
        )


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
