"""Converts columns of times to milliseconds since 1970 (UTC).

Accepted are numbers of one unit (`1600000000`, `1600000000.0`, `1.6e9`, `1600000000,0`), ISO 8601
(`2020-09-13T12:26:40Z`; UTC if there is no zone; midnight if there is only a date), and the time types of Parquet.
The first value decides whether a column holds numbers or ISO times.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.config import TimeUnit
from toolkit.errors import UserError

# For each unit: its name, the factor to milliseconds, and the number of digits below a millisecond.
_UNITS: dict[TimeUnit, tuple[str, int, int]] = {
    "s": ("seconds", 1000, 0),
    "ms": ("milliseconds", 1, 0),
    "us": ("microseconds", 1, 3),
    "ns": ("nanoseconds", 1, 6),
}
_LONGEST = 18  # digits that fit into 64 bits
_ISO = (
    r"^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(Z|UTC|[+-]\d{2}:?(\d{2})?)?)?\s*$"
)
_DECIMAL = r"^\s*-?\d+([.,]\d*)?([eE]\+?\d{1,2})?\s*$"


class Times:
    """Reads one column of times, batch by batch.

    Args:
        path: file of the column, for messages.
        unit: unit of its numbers.
    """

    def __init__(self, path: Path, unit: TimeUnit) -> None:
        self._path, self._unit = path, unit
        self._iso: bool | None = None

    def read(self, values: pa.Array, line: pa.Array) -> pa.Array:
        """Converts strings, numbers or timestamps to milliseconds (int64).

        Args:
            values: values of the column.
            line: line number of each value.

        Raises:
            UserError: with the first line whose value is not a time or is missing.
        """
        type_ = values.type
        if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
            return self._points(values, line)
        if self._iso is None and len(values):
            self._iso = bool(pc.match_substring_regex(values[:1], _ISO)[0].as_py())
        return (
            self._from_iso(values, line)
            if self._iso
            else milliseconds(self._path, values, line, self._unit)
        )

    def _points(self, values: pa.Array, line: pa.Array) -> pa.Array:
        if values.null_count:
            row = pc.index(values.is_null(), True).as_py()
            raise UserError(
                f"{self._path}:{line[row].as_py()}: expected a time, found no value; "
                "fill it in or delete the row"
            )
        return values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())

    def _from_iso(self, values: pa.Array, line: pa.Array) -> pa.Array:
        import pandas as pd  # here: half a second, which decoding processes save

        plain = pc.replace_substring_regex(values, r"\s*UTC\s*$", "Z")
        points = pd.to_datetime(
            pd.Series(plain.to_pylist(), dtype="str").str.strip().str.replace(",", "."),
            format="ISO8601",
            utc=True,
            errors="coerce",
        )
        bad = points.isna().to_numpy() | ~pc.match_substring_regex(values, _ISO).to_numpy(
            zero_copy_only=False
        )
        if bad.any():
            row = int(np.argmax(bad))
            raise _refused(self._path, line, values, row, "a time like 2020-09-13T12:26:40Z")
        return pa.array(
            points.dt.tz_localize(None).to_numpy().astype("datetime64[ms]").astype(np.int64),
            pa.int64(),
        )


def milliseconds(path: Path, values: pa.Array, line: pa.Array, unit: TimeUnit) -> pa.Array:
    """Converts numeric strings in `unit` to milliseconds (int64).

    Accepts integers and decimals with an integer value. Seconds may have a fraction, which is cut to milliseconds.

    Args:
        path: file of the values, for messages.
        values: the strings.
        line: line number of each value.
        unit: unit of the numbers.

    Raises:
        UserError: with the first line whose value is not such a number, or is too large.
    """
    unit_name, factor, finer = _UNITS[unit]
    expected, digits = f"a timestamp in {unit_name}", _LONGEST - len(str(factor)) + 1
    if not finer:
        if _all_digits(values, digits):
            return pc.multiply(values.cast(pa.int64()), factor)
        if not _any_decimal(values):
            return pc.multiply(integers(path, values, line, expected, digits=digits), factor)
    if finer and _all_digits(values, digits + finer):
        return _without_last(values, finer).cast(pa.int64())
    return _decimals(path, values, line, unit, expected)


def _any_decimal(values: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, r"\d[.,eE]")).as_py())


def _without_last(values: pa.Array, digits: int) -> pa.Array:
    cut = pc.utf8_slice_codeunits(values, 0, -digits)
    return pc.if_else(pc.equal(cut, ""), "0", cut)


def _decimals(
    path: Path, values: pa.Array, line: pa.Array, unit: TimeUnit, expected: str
) -> pa.Array:
    """As `milliseconds`, in exact arithmetic for strings with a decimal point or an exponent."""
    _, factor, finer = _UNITS[unit]
    good = pc.match_substring_regex(values, _DECIMAL).to_pylist()
    texts = pc.replace_substring(pc.utf8_trim_whitespace(values), ",", ".").to_pylist()
    read = []
    for row, (text, fits) in enumerate(zip(texts, good, strict=True)):
        number, left = _scaled(text, factor) if fits else (0, True)
        number //= 10**finer
        # Fractions are allowed for seconds only.
        if not fits or abs(number) >= 10**_LONGEST or (left and unit != "s"):
            raise _refused(path, line, values, row, expected)
        read.append(number)
    return pa.array(read, pa.int64())


def _scaled(text: str, factor: int) -> tuple[int, bool]:
    """A decimal string times a factor, in exact arithmetic, rounded down; and whether it has a remainder."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or 0) - len(fraction)
    scaled = int(whole + fraction) * factor
    if power >= 0:
        return scaled * 10**power, False
    return scaled // 10**-power, bool(scaled % 10**-power)


def integers(
    path: Path, values: pa.Array, line: pa.Array, expected: str, *, digits: int = 18
) -> pa.Array:
    """Converts strings to integers (int64).

    Args:
        path: file of the values, for messages.
        values: the strings.
        line: line number of each value.
        expected: description of the values, for messages.
        digits: maximum number of digits.

    Raises:
        UserError: with the first line whose value is not an integer, or is too large.
    """
    if _all_digits(values, digits):
        return values.cast(pa.int64())
    # The slow path handles rare cases: surrounding spaces, a sign, or a mistake.
    good = pc.match_substring_regex(values, rf"^\s*-?\d{{1,{digits}}}\s*$")
    row = pc.index(good, False).as_py()
    if row >= 0:
        raise _refused(path, line, values, row, expected)
    return pc.utf8_trim_whitespace(values).cast(pa.int64())


def _all_digits(values: pa.Array, digits: int) -> bool:
    plain = pc.all(pc.ascii_is_decimal(values), min_count=0).as_py()
    return bool(plain) and (pc.max(pc.binary_length(values)).as_py() or 0) <= digits


def _refused(path: Path, line: pa.Array, values: pa.Array, row: int, expected: str) -> UserError:
    hint = ""
    if "time" in expected:
        hint = " (dates must all have the form 2020-09-13 or 2020-09-13T12:26:40Z)"
    return UserError(
        f"{path}:{line[row].as_py()}: expected {expected}, found {values[row].as_py()!r}; "
        f"fix the line or delete it{hint}"
    )
