"""The layouts in which dumps come, one reader each."""

from pathlib import Path

from prep.readers import amazon, microlens
from prep.readers.raw import Raw, Reader
from toolkit.errors import UserError

__all__ = ["READERS", "Raw", "Reader", "choose"]

READERS: dict[str, Reader] = {
    "microlens": Reader(
        microlens.find, microlens.read, "*title*.csv and *_pairs.csv or *_pairs.tsv"
    ),
    "amazon": Reader(amazon.find, amazon.read, "*items*.tsv and *users*.tsv"),
}


def choose(layout: str, dump: Path) -> tuple[str, dict[str, Path]]:
    """The layout of a dump, and its files by role.

    Args:
        layout: a key of `READERS`, or `auto` to look.
        dump: the folder.

    Raises:
        UserError: if the folder is absent, or holds no such layout.
    """
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    for name in READERS if layout == "auto" else [layout]:
        files = READERS[name].find(dump)
        if files:
            return name, files
    wanted = {name: reader.wants for name, reader in READERS.items() if layout in ("auto", name)}
    raise UserError(
        f"{dump}: found no dump of layout {layout} here; expected "
        + ", or ".join(f"{wants} ({name})" for name, wants in wanted.items())
        + "; check the folder, or its file names"
    )
