"""The trained recommender: a model with the dataset whose items it recommends."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from models.config import RunConfig
from models.inputs.features import Features
from models.inputs.histories import Histories, first_true, item_numbers, list_histories
from models.inputs.user_share import with_share_of_users
from models.inputs.users import Users
from models.ranking.catalogue import Catalogue, encode_catalogue, make_catalogue
from models.ranking.ranks import USERS_AT_ONCE
from models.ranking.tiles import users_at_once
from models.ranking.top_k import TopK, top_k_items
from models.recommender import Model
from toolkit import schema
from toolkit.arguments import whole_number
from toolkit.console.progress import track
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.histories import Ints
from toolkit.ids import as_ids
from toolkit.own_protocols import ProtocolLike, as_protocol
from toolkit.splits import Evaluation, Splits


class TrainedRecommender:
    """A trained model together with a dataset.

    Args:
        config: config of the run.
        dataset: dataset whose items the model encodes.
        model: trained model; set to evaluation mode.
        features: source of the item encoder's inputs.
        ranked: numbers of the items that can be recommended, ascending; by default the items of the truncated data.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        model: Model,
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
        return f"TrainedRecommender({self.config.title!r}, {self.dataset})"

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(chain(self.model.parameters(), self.model.buffers())).device

    @cached_property
    def splits(self) -> Splits:
        """Train, valid and test under the run's own protocol."""
        return self.splits_under(self.config.protocol)

    def splits_under(self, protocol: ProtocolLike) -> Splits:
        """Train, valid and test under a protocol, with times if the sequence encoder reads them.

        Raises:
            UserError: if the protocol trains on other data than the run's own.
        """
        protocol, own = as_protocol(protocol), self.config.evaluation_protocol
        if protocol.split.training != own.split.training:
            raise UserError(
                f"protocol {protocol}: the run was trained under {own}, which splits the data in another way, so its "
                f"training data may contain what {protocol} tests; train a run under it: python -m models.train --config "
                f"{self.config.output}/config.yaml --protocol {protocol} --output OTHER"
            )
        splits = self.dataset.splits(
            protocol=protocol,
            max_len=self.config.sequence.max_len,
            times=self.model.takes_times,
        )
        train = self.config.train
        return with_share_of_users(splits, train.user_share, seed=train.user_seed)

    def catalogue_of(self, evaluation: Evaluation) -> Catalogue:
        """The encoded items among which an evaluation ranks its targets."""
        new = evaluation.new_targets
        if not len(new) and np.array_equal(evaluation.catalogue, self.splits.known):
            return self.catalogue
        return make_catalogue(
            self.catalogue.embeddings,
            self.features.same_as(),
            evaluation.catalogue,
            users=self.catalogue.users,
            model=self.model,
            appended=new,
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The encoded items that can be recommended: those of the kept data, or all items of another dataset."""
        ranked = self.splits.known if self._ranked is None else self._ranked
        return encode_catalogue(
            self.model,
            self.features,
            ranked,
            device=self.device,
            precision=self.config.train.mixed_precision,
        )

    def item_embeddings(self) -> Tensor:
        """Item embeddings, (N + 1, E); row 0 (padding) is zeros.

        Raises:
            UserError: if the model's scores are no dot products of embeddings.
        """
        self._refuse_own_scores()
        return self.catalogue.embeddings.cpu()

    def user_states(self, histories: Histories | Sequence[Sequence[str | int]]) -> Tensor:
        """User states after each history, (S, E). The score of an item is the dot product with its embedding.

        Args:
            histories: as in `recommend`.

        Raises:
            UserError: as `recommend` does, and if the model's scores are no dot products of vectors.
        """
        parts = self.user_state_blocks(histories)
        return torch.cat([self.catalogue.embeddings[:0].cpu(), *parts])

    def user_state_blocks(
        self, histories: Histories | Sequence[Sequence[str | int]]
    ) -> Iterator[Tensor]:
        """Like `user_states`, but yields the states of one block of users at a time. Errors are the same."""
        self._refuse_own_scores()
        numbered = self._numbered(histories)
        for rows in _blocks(len(numbered), USERS_AT_ONCE):
            yield self._encode(numbered[rows]).cpu()

    def recommend(
        self,
        histories: Histories | Sequence[Sequence[str | int]],
        k: int = 10,
        *,
        items: Sequence[str | int] | None = None,
        progress: bool = False,
    ) -> pa.Table:
        """The top-k items of each history, without the items of the history.

        Args:
            histories: item ids in time order, the newest last. A whole number stands for the id with its digits
                (`toolkit.ids.as_ids`).
            k: number of items per history. Fewer are returned if fewer are left.
            items: ids of the candidates; by default the whole catalogue. A model over content accepts any item that
                has states; an ID model accepts items of the catalogue only.
            progress: whether to draw a progress bar.

        Returns:
            A table `row, rank, item_id, score`. `row` is the index of the history, `rank` starts at 1, and items with
            equal scores are ordered by item number.

        Raises:
            UserError: if a history is empty, an id is unknown, an item cannot be recommended, or k is below 1.
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
        """Like `recommend`, but yields item numbers, one block of users at a time. Arguments and errors are the same."""
        k = whole_number(k, name="k")
        numbered = self._numbered(histories)
        catalogue = self.catalogue if items is None else self._candidates(items)
        blocks = _blocks(len(numbered), users_at_once(catalogue))
        for rows in track(blocks, "recommend", total=len(blocks), enabled=progress):
            top_k = self._top_items(numbered[rows], k, catalogue)
            yield top_k._replace(rows=top_k.rows + rows.start)

    def _numbered(self, histories: Histories | Sequence[Sequence[str | int]]) -> Histories:
        """Histories by item number."""
        if isinstance(histories, Histories):
            return histories
        return list_histories(histories, self.dataset)

    def _candidates(self, items: Sequence[str | int]) -> Catalogue:
        """The catalogue restricted to these items.

        Raises:
            UserError: if there are none, an id is unknown, or the model has no vector for an item.
        """
        ids = as_ids(items, what="items", one="item id")
        if not ids:
            raise UserError(
                "items: the list is empty, so no item can be recommended; pass item ids, or leave out items to rank "
                "the whole catalogue"
            )
        numbers = np.unique(item_numbers(ids, self.dataset))
        untrained = numbers[self.catalogue.column.cpu().numpy()[numbers] < 0]
        if not self.config.knows_new_items and len(untrained):
            raise UserError(
                f"items: {len(untrained):,} of them (the first is "
                f"{self.dataset.item_ids.id(int(untrained[0]))!r}) are outside the catalogue, and {self.config.noun} "
                "has no trained vectors for them; leave them out, or use a run that reads content"
            )
        return make_catalogue(
            self.catalogue.embeddings,
            self.features.same_as(),
            numbers,
            users=self.catalogue.users,
            model=self.model,
        )

    def _top_items(self, histories: Histories, k: int, catalogue: Catalogue) -> TopK:
        rows, seen = (
            torch.from_numpy(part.astype(np.int64)).to(self.device) for part in histories.pairs()
        )
        return top_k_items(self._encode(histories), catalogue, (rows, seen), k)

    @torch.no_grad()
    def _encode(self, histories: Histories) -> Tensor:
        """User states after each history, (B, E)."""
        length = self.config.sequence.max_len
        inputs = torch.from_numpy(histories.inputs(length).astype(np.int64)).to(self.device)
        times = None
        if self.model.takes_times:
            times = torch.from_numpy(histories.input_times(length)).to(self.device)
        users = Users(inputs, self._user_rows(histories).to(self.device), times)
        return self.model.user_vectors(users, self.catalogue.tables)

    def _user_rows(self, histories: Histories) -> Tensor:
        """(B,) row of each user among the training users, from 1; 0 for a user outside of it.

        Raises:
            UserError: if the model has vectors for its training users only, and one is not among them.
        """
        kind = self.config.general_kind
        if kind is None or not kind.needs_user:
            return torch.zeros(len(histories), dtype=torch.int64)
        if not histories.of_dataset:
            raise UserError(
                f"{kind.noun} has vectors for the users that it was trained on, and none for other histories; recommend "
                "for users of the dataset (--users), or use a recommender that reads histories"
            )
        rows = pc.index_in(histories.user_ids, value_set=self._trained_users)
        if rows.null_count:
            unknown = histories.user_ids[first_true(rows.is_null())].as_py()
            raise UserError(
                f"user {unknown!r} has no vector, because the run was trained on "
                f"{self.config.evaluation_protocol.split.trained_users}; leave the user out (--users), or use a "
                "recommender that reads histories"
            )
        return torch.from_numpy(rows.to_numpy().astype(np.int64)) + 1

    @cached_property
    def _trained_users(self) -> pa.Array:
        return pa.array(self.splits.user_ids, pa.string())

    def _refuse_own_scores(self) -> None:
        if self.model.own_scores is not None:
            name = self.config.recommender.kind
            raise UserError(
                f"the scores of recommender.kind {name} are no dot products, so it has no embeddings to export; use "
                "recommend"
            )


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
