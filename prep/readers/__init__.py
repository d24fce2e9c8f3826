"""Readers of dumps, one per layout."""

from functools import partial
from pathlib import Path

from prep.config import Layout, PrepConfig
from prep.readers import amazon, challenge, microlens, morec, ninerec, recbole, table
from prep.readers.raw import Raw, Reader, parts
from prep.readers.text import packed_beside
from toolkit.errors import UserError

__all__ = ["Raw", "Reader", "choose", "make_readers", "parts", "refuse_unused"]

_OPTIONS = ("columns", "pair_columns", "time_unit")  # keys of PrepConfig that only some readers use


def make_readers(config: PrepConfig) -> dict[str, Reader]:
    """Every reader by its layout, with the user's settings. `auto` tries them in this order.

    Raises:
        UserError: if `columns` is malformed.
    """
    columns, unit = table.parse_roles(config.columns), config.time_unit
    auto = not columns  # named columns select layout table
    return {
        "microlens": Reader(
            microlens.find,
            microlens.read,
            "*title*.csv and *_pairs.csv or *_pairs.tsv",
            auto,
        ),
        "challenge": Reader(
            challenge.find,
            challenge.read,
            "item_seq.parquet and item_feature.parquet or item_info.parquet",
            auto,
        ),
        "ninerec": Reader(
            ninerec.find,
            partial(ninerec.read, pair_columns=config.pair_columns, time_unit=unit),
            "*_item.csv and *_pair.csv or *_behaviour.tsv",
            auto,
            {"pair_columns": config.pair_columns, "time_unit": unit},
        ),
        "morec": Reader(
            morec.find if config.layout == "morec" else morec.find_certain,
            morec.read,
            "*items*.tsv of one or three columns and *users*.tsv",
            auto,
        ),
        "amazon": Reader(amazon.find, amazon.read, "*items*.tsv and *users*.tsv", auto),
        "recbole": Reader(
            recbole.find,
            partial(recbole.read, columns=columns, time_unit=unit),
            "*.inter and, optionally, *.item",
            settings={"columns": columns, "time_unit": unit},
        ),
        "table": Reader(
            partial(table.find, columns=columns),
            partial(table.read, columns=columns, time_unit=unit),
            "any *.csv, *.parquet or folder of *.parquet if --columns names its columns",
            not auto,
            {"columns": columns, "time_unit": unit},
        ),
    }


def choose(
    layout: Layout, dump: Path, readers: dict[str, Reader] | None = None
) -> tuple[str, dict[str, Path]]:
    """The layout of a dump and its files by role.

    Args:
        layout: a key of `readers`, or `auto` to detect the layout.
        dump: folder of the dump.
        readers: readers of `make_readers`; by default those of the default configuration.

    Raises:
        UserError: if the folder does not exist or does not have this layout.
    """
    readers = readers or make_readers(PrepConfig(layout=layout))
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    for name, reader in readers.items():
        if name == layout or (layout == "auto" and reader.auto):
            files = reader.find(dump)
            if files:
                return name, files
    wanted = {name: reader.wants for name, reader in readers.items() if layout in ("auto", name)}
    raise UserError(
        f"{dump}: no dump of layout {layout} found; expected "
        + ", or ".join(f"{wants} ({name})" for name, wants in wanted.items())
        + f"; check the folder and its file names{packed_beside(dump)}"
    )


def refuse_unused(config: PrepConfig, layout: str, reader: Reader) -> None:
    """Refuses options that the reader of this layout does not use.

    Raises:
        UserError: with the first option that is set but not used.
    """
    for key in _OPTIONS:
        value = getattr(config, key)
        if value != getattr(PrepConfig(), key) and key not in reader.settings:
            raise UserError(
                f"{key} is {value!r}, but the dump has layout {layout}, which does not use it; "
                f"omit {key}, or choose another --layout"
            )
