"""Points in time as people write them into tables, as milliseconds since 1970 (UTC).

Numbers of one unit (`1600000000`, `1600000000.0`, `1.6e9`, `1600000000,0`), ISO 8601 (`2020-09-13T12:26:40Z`,
without a zone: UTC; a day: its beginning), and the types that Parquet has for time. A column is all numbers or
all ISO: its first value decides.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from prep.config import TimeUnit
from toolkit.errors import UserError

# Of each unit: its name, what a number is multiplied by, and the digits of what makes less than a millisecond.
_UNITS: dict[TimeUnit, tuple[str, int, int]] = {
    "s": ("seconds", 1000, 0),
    "ms": ("milliseconds", 1, 0),
    "us": ("microseconds", 1, 3),
    "ns": ("nanoseconds", 1, 6),
}
_LONGEST = 18  # digits for which 64 bits suffice
_ISO = (
    r"^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(Z|UTC|[+-]\d{2}:?(\d{2})?)?)?\s*$"
)
_DECIMAL = r"^\s*-?\d+([.,]\d*)?([eE]\+?\d{1,2})?\s*$"


class Times:
    """Reads one column of times, batch by batch.

    Args:
        path: where it is from, for messages.
        unit: of its numbers.
    """

    def __init__(self, path: Path, unit: TimeUnit) -> None:
        self._path, self._unit = path, unit
        self._iso: bool | None = None

    def read(self, values: pa.Array, line: pa.Array) -> pa.Array:
        """Strings, numbers or points in time as milliseconds (int64).

        Args:
            values: the column.
            line: where each stands.

        Raises:
            UserError: naming the first line whose value is no time, or none.
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
            place = pc.index(values.is_null(), True).as_py()
            raise UserError(
                f"{self._path}:{line[place].as_py()}: expected a point in time, found none; "
                "fill it in or delete the row"
            )
        return values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())

    def _from_iso(self, values: pa.Array, line: pa.Array) -> pa.Array:
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
            place = int(np.argmax(bad))
            raise _refused(self._path, line, values, place, "a time like 2020-09-13T12:26:40Z")
        return pa.array(
            points.dt.tz_localize(None).to_numpy().astype("datetime64[ms]").astype(np.int64),
            pa.int64(),
        )


def milliseconds(path: Path, values: pa.Array, line: pa.Array, unit: TimeUnit) -> pa.Array:
    """Strings that are numbers of `unit`, as milliseconds (int64).

    Whole numbers, and decimals whose value is whole; seconds may have a fraction, of which milliseconds are kept.

    Args:
        path: where they are from, for messages.
        values: the strings.
        line: where each stands.
        unit: of the numbers.

    Raises:
        UserError: naming the first line whose value is no such number, or too large a one.
    """
    word, factor, finer = _UNITS[unit]
    expected, digits = f"a timestamp in {word}", _LONGEST - len(str(factor)) + 1
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
    """As `milliseconds`, for strings of which some have a decimal point or an exponent, exactly."""
    _, factor, finer = _UNITS[unit]
    good = pc.match_substring_regex(values, _DECIMAL).to_pylist()
    texts = pc.replace_substring(pc.utf8_trim_whitespace(values), ",", ".").to_pylist()
    read = []
    for place, (text, fits) in enumerate(zip(texts, good, strict=True)):
        number, left = _scaled(text, factor) if fits else (0, True)
        number //= 10**finer
        # Of a second, a fraction is a time; of what is smaller, a mistake.
        if not fits or abs(number) >= 10**_LONGEST or (left and unit != "s"):
            raise _refused(path, line, values, place, expected)
        read.append(number)
    return pa.array(read, pa.int64())


def _scaled(text: str, factor: int) -> tuple[int, bool]:
    """A decimal times a factor, exactly, rounded down; and whether anything was left over."""
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
    """Strings that are whole numbers (int64).

    Args:
        path: where they are from, for messages.
        values: the strings.
        line: where each stands.
        expected: what they are, for messages.
        digits: how many a number may have.

    Raises:
        UserError: naming the first line whose value is no whole number, or too large a one.
    """
    if _all_digits(values, digits):
        return values.cast(pa.int64())
    # What is left is rare, and the rule itself is slow: spaces around, a sign, or a mistake.
    good = pc.match_substring_regex(values, rf"^\s*-?\d{{1,{digits}}}\s*$")
    place = pc.index(good, False).as_py()
    if place >= 0:
        raise _refused(path, line, values, place, expected)
    return pc.utf8_trim_whitespace(values).cast(pa.int64())


def _all_digits(values: pa.Array, digits: int) -> bool:
    plain = pc.all(pc.ascii_is_decimal(values), min_count=0).as_py()
    return bool(plain) and (pc.max(pc.binary_length(values)).as_py() or 0) <= digits


def _refused(path: Path, line: pa.Array, values: pa.Array, place: int, expected: str) -> UserError:
    dates = "time" in expected
    more = (
        " (dates are read where all are like 2020-09-13 or 2020-09-13T12:26:40Z)" if dates else ""
    )
    return UserError(
        f"{path}:{line[place].as_py()}: expected {expected}, found {values[place].as_py()!r}; "
        f"mend the line or delete it{more}"
    )
