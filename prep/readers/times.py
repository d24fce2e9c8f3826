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

# Of each unit: its name, milliseconds in one (or how many make one), and the digits for which 64 bits suffice.
_UNITS: dict[TimeUnit, tuple[str, int, int, int]] = {
    "s": ("seconds", 1000, 1, 15),
    "ms": ("milliseconds", 1, 1, 18),
    "us": ("microseconds", 1, 1000, 18),
    "ns": ("nanoseconds", 1, 1_000_000, 18),
}
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
        return pa.array(points.to_numpy().astype("datetime64[ms]").astype(np.int64), pa.int64())


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
    word, factor, divisor, digits = _UNITS[unit]
    expected = f"a timestamp in {word}"
    if (
        not _all_digits(values, digits)
        and pc.any(pc.match_substring_regex(values, r"[.,eE]")).as_py()
    ):
        return _decimals(path, values, line, unit, expected)
    numbers = integers(path, values, line, expected, digits=digits)
    return pc.multiply(numbers, factor) if divisor == 1 else _floor(numbers, divisor)


def _floor(numbers: pa.Array, divisor: int) -> pa.Array:
    return pa.array(numbers.to_numpy() // divisor, pa.int64())


def _decimals(
    path: Path, values: pa.Array, line: pa.Array, unit: TimeUnit, expected: str
) -> pa.Array:
    """As `milliseconds`, for strings of which some have a decimal point or an exponent."""
    _, factor, divisor, _ = _UNITS[unit]
    places = 3 if unit == "s" else 0  # fractions of a millisecond and of smaller units are no times
    good = pc.match_substring_regex(values, _DECIMAL).to_numpy(zero_copy_only=False)
    texts = pc.replace_substring(pc.utf8_trim_whitespace(values), ",", ".")
    told = np.array([t if ok else "0" for t, ok in zip(texts.to_pylist(), good, strict=True)])
    numbers = [_scaled(text, factor) for text in told.tolist()]
    bad = [
        not ok or abs(number) >= 10**18 or (not places and fraction)
        for ok, (number, fraction) in zip(good.tolist(), numbers, strict=True)
    ]
    if any(bad):
        raise _refused(path, line, values, bad.index(True), expected)
    return pa.array([number // divisor for number, _ in numbers], pa.int64())


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
