"""The layouts in which dumps come, one reader each."""

from functools import partial
from pathlib import Path

from prep.config import Layout, PrepConfig
from prep.readers import amazon, challenge, microlens, morec, ninerec, recbole, table
from prep.readers.raw import Raw, Reader, parts
from prep.readers.text import packed_beside
from toolkit.errors import UserError

__all__ = ["Raw", "Reader", "choose", "make_readers", "parts", "refuse_unused"]

_OPTIONS = ("columns", "pair_columns", "time_unit")  # keys of PrepConfig that some readers are told


def make_readers(config: PrepConfig) -> dict[str, Reader]:
    """Every reader by its layout, told what the user set; `auto` tries them in this order.

    Raises:
        UserError: if `columns` cannot be understood.
    """
    columns, unit = table.parse_roles(config.columns), config.time_unit
    auto = not columns  # who names columns has a table
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
            "*.inter, and *.item where there is one",
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
    """The layout of a dump, and its files by role.

    Args:
        layout: a key of `readers`, or `auto` to look.
        dump: the folder.
        readers: what `make_readers` made; by default with nothing else set.

    Raises:
        UserError: if the folder is absent, or holds no such layout.
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
        f"{dump}: found no dump of layout {layout} here; expected "
        + ", or ".join(f"{wants} ({name})" for name, wants in wanted.items())
        + f"; check the folder, or its file names{packed_beside(dump)}"
    )


def refuse_unused(config: PrepConfig, layout: str, reader: Reader) -> None:
    """Refuses options that a dump of this layout has no use for.

    Raises:
        UserError: naming the first that is set and not read.
    """
    for key in _OPTIONS:
        value = getattr(config, key)
        if value != getattr(PrepConfig(), key) and key not in reader.settings:
            raise UserError(
                f"{key} is {value!r}, but the dump is of layout {layout}, which has no use for it; "
                f"leave {key} out, or say which --layout it is"
            )
