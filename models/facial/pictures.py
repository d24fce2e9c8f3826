"""Batches of faces: pictures of a dataset, decoded in threads ahead of the step, with labels and targets of texts.

B faces, A action units (AUs), C pixels of a crop's side, N training faces, P processes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.facial.augment import View
from models.facial.texts import Texts, TextTargets
from models.machine.threads import threads_of
from toolkit.faces import Faces
from toolkit.facs import MISSING
from toolkit.images import decode_jpeg
from toolkit.prefetch import in_order

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class FaceBatch:
    """A batch of one process.

    Args:
        images: (B, 3, C, C) uint8 RGB.
        labels: (B, A) of 0, 1 and 9 (missing).
        texts: targets of the decoders; None without language branches.
        share: weight of its loss in its update (`models.training.step.TrainingBatch`).
    """

    images: Tensor
    labels: Tensor
    texts: TextTargets | None
    share: float = 1.0

    def to(self, device: torch.device) -> "FaceBatch":
        """The batch on a device."""
        texts = self.texts and TextTargets(*(part.to(device) for part in self.texts))
        return FaceBatch(self.images.to(device), self.labels.to(device), texts, self.share)


class Pictures:
    """The pictures of a dataset, decoded when they are read.

    Args:
        faces: the dataset.
        view: resizes and crops them.
    """

    def __init__(self, faces: Faces, view: View) -> None:
        self.view = view
        self._images = faces.table.column("image")

    def plain(self, rows: Sequence[int]) -> Tensor:
        """(B, 3, C, C) uint8 RGB of some rows of the table."""
        return _stacked([self.view.plain(self._decoded(row)) for row in rows])

    def changed(self, rows: Sequence[int], *, seed: int, epoch: int) -> Tensor:
        """The same with the random changes of an epoch."""
        each = (self.view.changed(self._decoded(row), (seed, epoch, row)) for row in rows)
        return _stacked(list(each))

    def _decoded(self, row: int) -> NDArray[np.uint8]:
        return decode_jpeg(self._images[row].as_py())


class FaceBatches:
    """The batches of every epoch, in one of P processes (`models.training.step.TrainingBatches`).

    An epoch is a permutation of the rows. Batch i has P · B faces, of which process r takes every P-th from r. If the last
    batch has fewer faces than processes, rows from the start of the epoch fill it.

    Args:
        pictures: of the dataset.
        rows: (N,) rows of the table.
        labels: (N, A) their labels.
        texts: makes the targets of texts; None without language branches.
        batch_size: B.
        accumulation: batches per update.
        seed: of order and augmentation.
        rank: r.
        world: P.
        workers: threads that decode (`models.machine.threads.threads_of`).
    """

    def __init__(
        self,
        pictures: Pictures,
        rows: Rows,
        labels: NDArray[np.int8],
        *,
        texts: Texts | None,
        batch_size: int,
        accumulation: int = 1,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        self.pictures, self.rows, self.texts = pictures, rows, texts
        self.labels = torch.from_numpy(labels.astype(np.int8))
        self.batch_size, self.accumulation = batch_size, accumulation
        self.seed, self.rank, self.world = seed, rank, world
        self.workers = threads_of(workers)
        self._labelled = (labels != MISSING).sum(1)

    def __len__(self) -> int:
        return -(-len(self.rows) // (self.batch_size * self.world))

    def ends_update(self, number: int) -> bool:
        """Whether an update of the weights follows the batch with this index (from 0)."""
        return (number + 1) % self.accumulation == 0 or number + 1 == len(self)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[FaceBatch]:
        """The batches of an epoch (from 1), from the one with index `first` on: always the same for the same epoch."""
        order = self._order(epoch)

        def make(number: int) -> FaceBatch:
            chosen = self._chosen(order, number, self.rank)
            rows = self.rows[chosen].tolist()
            images = self.pictures.changed(rows, seed=self.seed, epoch=epoch)
            labels = self.labels[chosen]
            texts = self.texts.targets(labels) if self.texts else None
            return FaceBatch(images, labels, texts, self._share(order, number))

        with ThreadPoolExecutor(self.workers, thread_name_prefix="decode") as pool:
            yield from in_order(make, range(first, len(self)), pool=pool, depth=self.workers + 1)

    def chosen(self, epoch: int, number: int, rank: int) -> Rows:
        """The rows of the table in a batch of a process."""
        return self.rows[self._chosen(self._order(epoch), number, rank)]

    def _order(self, epoch: int) -> Rows:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))

    def _chosen(self, order: Rows, number: int, rank: int) -> Rows:
        size = self.batch_size * self.world
        whole = order[number * size : (number + 1) * size]
        if len(whole) < self.world:
            whole = np.concatenate([whole, np.resize(order, self.world - len(whole))])
        return whole[rank :: self.world]

    def _share(self, order: Rows, number: int) -> float:
        """P times the labels of this batch over those of all batches of its update, which makes the loss one mean."""
        first = number - number % self.accumulation
        numbers = range(first, min(first + self.accumulation, len(self)))
        counts = {
            (each, rank): int(self._labelled[self._chosen(order, each, rank)].sum())
            for each in numbers
            for rank in range(self.world)
        }
        total = sum(counts.values())
        return self.world * counts[number, self.rank] / total if total else 1 / len(numbers)


def _stacked(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
