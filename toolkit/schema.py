"""Schemas of the Arrow tables that prep writes and models read: every column name and type."""

import json
from typing import Any, Literal, TypeVar

import pyarrow as pa

from toolkit.errors import UserError

SCHEMA_VERSION = 1
SETTINGS = b"versa_config"  # metadata key of a table
PROTOCOL = b"versa_protocol"  # metadata key of ranks and recommendations: the run's record of the protocol, as JSON

Status = Literal[
    "ok",
    "missing",
    "empty",
    "truncated",
    "corrupt",
    "unsupported",
    "timeout",
    "unsafe",
    "too_large",
]

StatesDtype = Literal["float16", "bfloat16", "float32"]
# The Arrow type of a value of hidden states.
STATES_TYPES: dict[StatesDtype, pa.DataType] = {
    "float16": pa.float16(),
    "bfloat16": pa.uint16(),
    "float32": pa.float32(),
}

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),  # 1..N; 0 is padding
        pa.field("title", pa.string(), nullable=False),
    ]
)
# Optional columns of items.
ITEM_EXTRAS = {
    "tags": pa.list_(pa.string()),
    "likes": pa.int64(),
    "views": pa.int64(),
    "likes_level": pa.int64(),  # in the MicroLens challenge: levels 0..10 instead of counts
    "views_level": pa.int64(),
}
INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),  # 1..U
        pa.field("item", pa.int32(), nullable=False),
        pa.field("timestamp_ms", pa.int64()),  # null if the dump has none
        pa.field("position", pa.int32(), nullable=False),  # 0 is the user's first
    ]
)
# The source file of a cover or of a clip's frames; null if it is missing, empty or unsafe.
SOURCE = [
    pa.field("source_bytes", pa.int64()),
    pa.field("source_sha256", pa.string()),  # hexadecimal
]
COVERS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # JPEG
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        *SOURCE,
        pa.field("status", pa.string(), nullable=False),
    ]
)
FRAMES = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("frames", pa.list_(pa.binary())),  # JPEG
        pa.field("pts_seconds", pa.list_(pa.float64())),  # of each frame, from the clip's first
        pa.field("duration_seconds", pa.float64()),
        pa.field("fps", pa.float64()),
        pa.field("backend", pa.string()),
        pa.field("backend_version", pa.string()),
        *SOURCE,
        pa.field("status", pa.string(), nullable=False),
    ]
)
CAPTIONS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("text", pa.string()),  # null for an empty answer
        pa.field("model", pa.string(), nullable=False),
        pa.field("revision", pa.string(), nullable=False),
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ]
)
# Columns of a face before its labels; `faces` is the whole schema.
_FACE = [
    pa.field(
        "item_id", pa.string(), nullable=False
    ),  # path of the picture in the dump's folder of pictures
    pa.field("subject", pa.string(), nullable=False),
    pa.field("sequence", pa.string()),  # null if a subject has only one
    pa.field("frame", pa.int32()),  # null if the name of the picture has no number
    pa.field("fold", pa.int8()),  # the fold that tests the subject, from 1; null: in no split
    pa.field("image", pa.binary()),  # JPEG
    pa.field("width_px", pa.int32()),
    pa.field("height_px", pa.int32()),
    pa.field("crop", pa.list_(pa.int32(), 4)),  # left, top, width and height in the source, in px
    *SOURCE,
]
COMMENTS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),  # the author, maybe not in interactions
        pa.field("text", pa.string(), nullable=False),  # may be empty
    ]
)
ERRORS = pa.schema(
    [
        pa.field("item_id", pa.string()),  # null for a row about a user or a file
        pa.field("step", pa.string(), nullable=False),
        pa.field("error_class", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
RANKS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("rank", pa.float64(), nullable=False),
    ]
)
RECOMMENDATIONS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # index of the history, from 0
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)
# Output of `python -m models recommend`.
USER_RECOMMENDATIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        *(field for field in RECOMMENDATIONS if field.name != "row"),
        pa.field("title", pa.string(), nullable=False),
    ]
)


def faces(units: int) -> pa.Schema:
    """The schema of `faces/`: pictures of faces with labels of action units (AUs).

    `labels` has a 0, 1 or 9 (missing) for each AU, `intensities` a 0 to 5 or 9. Intensities are null if the dump has none.
    The table's metadata contain the numbers of the AUs (`aus`), separated by commas.

    Args:
        units: A, number of AUs.
    """
    values = pa.list_(pa.int8(), units)
    return pa.schema(
        [
            *_FACE,
            pa.field("labels", values, nullable=False),
            pa.field("intensities", values),
            pa.field("status", pa.string(), nullable=False),
        ]
    )


def states(layers: int, width: int, dtype: StatesDtype = "float16") -> pa.Schema:
    """The schema of `states/TOWER`: `layers` kept states of `width` values each, flat.

    Arrow has no bfloat16. Such values are stored as uint16 with the same bits, and the table's metadata
    contain `dtype: bfloat16` (`states_dtype`). `numpy_array.view(ml_dtypes.bfloat16)` or
    `tensor.view(torch.bfloat16)` reads them without a copy.

    Args:
        layers: K.
        width: D.
        dtype: type of a value: float16 by default; bfloat16 has the same size and the range of float32.
    """
    flat = pa.list_(pa.field("item", STATES_TYPES[dtype], nullable=False), layers * width)
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("item", pa.int32(), nullable=False),
            pa.field("states", flat, nullable=False),
        ]
    )


def tokens(dtype: StatesDtype = "float16") -> pa.Schema:
    """The schema of `tokens/TOWER`: states of all tokens of an item after one layer, flat, without padding.

    An item of n tokens has n * D values, token by token. D is `width` in the table's metadata.

    Args:
        dtype: type of a value; see `states`.
    """
    flat = pa.large_list(pa.field("item", STATES_TYPES[dtype], nullable=False))
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("item", pa.int32(), nullable=False),
            pa.field("tokens", flat, nullable=False),
        ]
    )


def states_dtype(found: pa.Schema, *, where: str) -> StatesDtype:
    """The dtype of a table of states or tokens, from its metadata; float16 if they do not name one.

    Raises:
        UserError: if the dtype is unknown.
    """
    recorded = (found.metadata or {}).get(b"dtype", b"float16").decode(errors="replace")
    for dtype in STATES_TYPES:
        if dtype == recorded:
            return dtype
    raise UserError(
        f"{where}: its metadata have dtype {recorded!r}, expected one of {', '.join(STATES_TYPES)}; "
        "write the table again with prep"
    )


def settings_of(found: pa.Schema, *, where: str) -> dict[str, Any]:
    """All settings that the rows of a table depend on, from the table's metadata; empty if prep recorded none.

    For states: encoder, revision, processor, source, pooling, layers, precision, quantize, store; for texts also
    max_tokens and lowercase; for pictures also the settings of the step that stored them (cover_px, or frame_count,
    frame_px, sampling, frame_interval and backend); and the captions that were encoded.

    Raises:
        UserError: if the metadata are malformed.
    """
    try:
        return dict(json.loads((found.metadata or {}).get(SETTINGS, b"{}")))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{where}: its metadata {SETTINGS.decode()} are malformed ({error!s:.80}); write the table again with prep"
        ) from None


Columns = TypeVar("Columns", pa.Table, pa.RecordBatch)


def validate(table: Columns, expected: pa.Schema, *, where: str) -> Columns:
    """Returns `table` if it has every column of `expected` with the same type and without forbidden nulls.

    Further columns are allowed.

    Raises:
        UserError: with `where`, the column, its type and the expected type.
    """
    for field in expected:
        if field.name not in table.schema.names:
            raise UserError(
                f"{where}: column {field.name!r} is missing (found: {', '.join(table.schema.names)}); "
                "write the table again with prep"
            )
        column = table.column(field.name)
        if column.type != field.type:
            raise UserError(
                f"{where}: column {field.name!r} has type {column.type}, expected {field.type}; "
                "write the table again with prep"
            )
        if not field.nullable and column.null_count:
            raise UserError(
                f"{where}: column {field.name!r} has {column.null_count} nulls, expected none; "
                "write the table again with prep"
            )
    return table
