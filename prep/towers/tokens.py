"""The work of storing token states: from items to rows of the states of all their tokens after one layer.

D width.
"""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.towers.encoding import Encoding, refuse_what_does_not_fit
from prep.towers.rows import as_stored
from toolkit import schema
from toolkit.errors import UserError
from toolkit.schema import StatesDtype, Status
from toolkit.store import Table

if TYPE_CHECKING:
    from toolkit.backbones import Encoder

SHARD = 256  # items; a batch is held in memory
_SAMPLE = 1024  # items whose tokens are counted, for an estimate of the size
_GIB = 2**30


@dataclass
class TokenEncoding:
    """The work of a tower's token states; see `Encoding`, whose dataset and encoder it shares.

    Args:
        encoding: of the same tower.
        layer: index of the state; 0 is the embedding output.
        dtype: to store states in.
    """

    encoding: Encoding
    layer: int
    dtype: StatesDtype = "float16"

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """A row for each item of the batch (`toolkit.schema.tokens`, `status` and `message`).

        Items without a source have no tokens.

        Raises:
            BeyondFloat16Error: if a state does not fit float16, and dtype is float16.
            UserError: if a state is not finite.
        """
        frozen, reading = self.encoding.frozen, self.encoding.reading(batch)
        states: list[NDArray[Any]] = [np.empty(0, np.float32)] * batch.num_rows
        for row, tokens in frozen.token_states(reading.batches, self.layer):
            values = tokens.float().flatten().cpu().numpy()
            refuse_what_does_not_fit(values, self.dtype, frozen.encoder.spec.encoder)
            states[reading.complete[row]] = as_stored(values, self.dtype)
        return _rows(batch, states, reading.outcomes, self.dtype)

    def expect(self, batch: pa.RecordBatch) -> None:
        """Begins to read the sources of a batch in threads; see `Encoding.expect`."""
        self.encoding.expect(batch)


def _rows(
    batch: pa.RecordBatch,
    states: list[NDArray[Any]],
    outcomes: list[tuple[Status, str | None]],
    dtype: StatesDtype,
) -> pa.Table:
    column = schema.tokens(dtype).field("tokens").type
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in states])]).astype(np.int64)
    stored = [one for one in states if len(one)]
    empty = np.empty(0, np.float32)
    flat = pa.array(
        np.concatenate(stored) if stored else as_stored(empty, dtype), column.value_type
    )
    return pa.table(
        {
            "item_id": batch.column("item_id"),
            "item": batch.column("item"),
            "tokens": pa.LargeListArray.from_arrays(pa.array(offsets), flat, type=column),
            "status": [status for status, _ in outcomes],
            "message": pa.array([message for _, message in outcomes], pa.string()),
        }
    )


def expected_bytes(work: TokenEncoding, items: pa.Table, *, rows: int, encoder: "Encoder") -> int:
    """The size of `rows` rows of a table of token states, from the token counts of a random sample of items.

    Args:
        work: the work.
        items: all items.
        rows: number of rows.
        encoder: of the tower.
    """
    count = min(_SAMPLE, items.num_rows)
    drawn = sorted(random.Random(0).sample(range(items.num_rows), count))
    (batch,) = items.take(pa.array(drawn)).combine_chunks().to_batches()
    payloads = [payload for payload in work.encoding.payloads(batch) if encoder.can_read(payload)]
    mean = sum(_token_counts(encoder, payloads)) / max(count, 1)
    value_bytes = schema.STATES_TYPES[work.dtype].bit_width // 8
    return round(mean * rows * encoder.width * value_bytes)


def _token_counts(encoder: "Encoder", payloads: list[Any]) -> list[int]:
    from toolkit.backbones.upper import image_tokens  # here, as in `load`

    preparation = encoder.prepare.preparation
    lengths = (
        preparation.lengths(preparation.read(payloads)) if encoder.modality == "text" else None
    )
    if lengths is not None:
        return lengths
    single = image_tokens(encoder)
    one_by_one = encoder.prepare.splits_clips(payloads)
    return [single * (len(payload) if one_by_one else 1) for payload in payloads]


def refuse_no_room(
    dataset: Path, tower: str, work: TokenEncoding, items: pa.Table, *, encoder: "Encoder"
) -> None:
    """Refuses to store token states for which the dataset's disk has no room.

    Args:
        dataset: its folder.
        tower: name of the tower.
        work: the work.
        items: all items.
        encoder: of the tower.

    Raises:
        UserError: with the size that is needed and the size that is free.
    """
    table = Table(dataset / "tokens" / tower)
    done = sum(batch.num_rows for batch in table.batches(["item"])) if table.exists() else 0
    rows = items.num_rows - done
    if rows <= 0:
        return
    needed = expected_bytes(work, items, rows=rows, encoder=encoder)
    free = shutil.disk_usage(dataset).free
    if needed > free:
        raise UserError(
            f"tower {tower!r}: token states of {rows:,} items need about {needed / _GIB:,.2f} GiB, and "
            f"{free / _GIB:,.2f} GiB are free on the disk of {dataset}; free some space, build the dataset on another "
            f"disk, or leave out --encode.{tower}.tokens"
        )
