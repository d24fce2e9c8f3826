"""The work of encoding one tower: from items to rows of hidden states."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.config import EncodeConfig
from prep.towers.rows import FLOAT16_LARGEST, state_rows
from toolkit import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.images import decode_jpeg
from toolkit.schema import StatesDtype, Status
from toolkit.sources import captions_behind, captions_of
from toolkit.towers import source_fields

if TYPE_CHECKING:
    from toolkit.backbones import Backbone

_NOTHING: dict[str, tuple[Status, str]] = {
    "title": ("empty", "the title is empty"),
    "cover": ("missing", "no cover is stored (why: step covers)"),
    "frames": ("missing", "no frames are stored (why: step frames)"),
}


class BeyondFloat16Error(UserError):
    """States do not fit float16."""


def load(config: EncodeConfig) -> "Backbone":
    """The encoder of a tower.

    Raises:
        UserError: if it cannot be had.
    """
    import torch  # here, because torch and transformers take seconds that `--help` need not wait

    from toolkit.backbones import load_backbone

    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_backbone(
        config.encoder,
        modality=config.modality,
        layers=config.layers,
        pooling=config.pooling,
        revision=config.revision,
        max_tokens=config.token_limit,
        lowercase=config.lowercase,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        device=device,
        device_map=config.device_map,
        dtype=config.dtype,
        quantize=config.quantize,
        trust_remote_code=config.trust_remote_code,
    )


@dataclass
class Encoding:
    """The work of a tower: `encode_batch`, with the dataset and the encoder that it needs.

    Both are opened when first asked for and then kept, and are not pickled: so each worker has its
    own, once.

    Args:
        dataset: what is read, a path that holds for every worker.
        config: of the tower.
        dtype: to store states in.
    """

    dataset: Path
    config: EncodeConfig
    dtype: StatesDtype = "float16"

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """The rows of a batch of items."""
        return encode_batch(
            batch,
            data=self.data,
            backbone=self.backbone,
            source=self.config.source,
            dtype=self.dtype,
        )

    def __reduce__(self) -> tuple[type["Encoding"], tuple[Path, EncodeConfig, StatesDtype]]:
        return type(self), (self.dataset, self.config, self.dtype)

    def refuse_absent_source(self) -> None:
        """Makes sure that what is read is stored, captions for every item.

        Raises:
            UserError: if it is not.
        """
        self.data.source_reader(self.config.source)
        captions_behind(self.data, self.config.source)
        for name in captions_of(self.config.source):
            done, count = self.data.captions(name).num_rows, self.data.items.num_rows
            if done < count:
                raise UserError(
                    f"{self.dataset}: captions {name!r} are not finished, {done:,} of {count:,} items have "
                    "theirs; run prep caption to go on"
                )

    @cached_property
    def data(self) -> Dataset:
        """Where the sources are."""
        return open_dataset(self.dataset)

    @cached_property
    def backbone(self) -> "Backbone":
        """The encoder."""
        return load(self.config)


def encode_batch(
    batch: pa.RecordBatch,
    *,
    data: Dataset,
    backbone: "Backbone",
    source: str,
    dtype: StatesDtype = "float16",
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.states`, `status` and `message`).

    Args:
        batch: with the columns item_id and item.
        data: where the sources are.
        backbone: the encoder.
        source: what it reads.
        dtype: to store states in.

    Raises:
        BeyondFloat16Error: if a state does not fit float16, and dtype says so.
        UserError: if a state is not finite.
    """
    payloads = data.source_reader(source).read(batch.column("item").to_numpy()).to_pylist()
    outcomes = [_outcome(source, payload, backbone) for payload in payloads]
    usable = [row for row, (status, _) in enumerate(outcomes) if status == "ok"]
    kept = np.float16 if dtype == "float16" else np.float32  # of bfloat16, until it is stored
    states = np.zeros((len(payloads), backbone.layers * backbone.width), dtype=kept)
    for places, made in backbone.batches([payloads[row] for row in usable]):
        values = made.flatten(1).cpu().numpy()
        _refuse_what_does_not_fit(values, dtype, backbone.name)
        states[[usable[place] for place in places]] = values
    return state_rows(batch, states, outcomes, dtype)


def _outcome(
    source: str, payload: str | bytes | list[bytes] | None, backbone: "Backbone"
) -> tuple[Status, str | None]:
    """Whether there is something to encode, and if not, why."""
    if payload is None:
        return _NOTHING.get(source) or _no_text(source)
    if not backbone.can_read(payload):
        return (
            "truncated",
            f"the encoder reads {backbone.frames} frames, {len(payload)} are stored (why: step frames)",
        )
    try:
        for image in _images(payload):
            decode_jpeg(image)
    except ValueError as error:
        return "corrupt", f"the stored {source} cannot be decoded ({error})"
    return "ok", None


def _images(payload: str | bytes | list[bytes]) -> list[bytes]:
    if isinstance(payload, str):
        return []
    return payload if isinstance(payload, list) else [payload]


def _no_text(source: str) -> tuple[Status, str]:
    fields = source_fields(source)
    if len(fields) > 1:
        return "empty", f"it has none of {', '.join(fields)}"
    return "missing", f"it has no usable caption (why: step caption:{source})"


def _refuse_what_does_not_fit(values: NDArray[np.float32], dtype: StatesDtype, name: str) -> None:
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise UserError(
            f"encoder {name!r} gives states that are not finite; compute in a wider precision "
            "(dtype bfloat16 or float32), keep other layers, or choose another encoder"
        )
    if dtype == "float16" and largest > FLOAT16_LARGEST:
        raise BeyondFloat16Error(
            f"encoder {name!r} gives states up to {largest:g}, and float16 ends at {FLOAT16_LARGEST:g}; "
            "they are to be stored in bfloat16"
        )
