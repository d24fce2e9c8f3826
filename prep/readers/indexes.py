"""Files `NAME.item2index` and `NAME.user2index` of UniSRec's and MISSRec's sets: `id<TAB>index`, without a header."""

from pathlib import Path

from prep.readers.raw import tab_pairs
from toolkit.errors import UserError


def read_index(path: Path) -> dict[str, str]:
    """The id of each index, in the order of the indexes.

    Args:
        path: the file.

    Raises:
        UserError: if a line has another form, or an index or id comes twice.
    """
    pairs = tab_pairs(path, "id<TAB>index")
    ids, indexes = pairs.column("key").to_pylist(), pairs.column("value").to_pylist()
    lines = pairs.column("line").to_pylist()
    known: dict[str, str] = {}
    seen: set[str] = set()
    for id_, index, line in zip(ids, (index.strip() for index in indexes), lines, strict=True):
        if not index.isdecimal():
            raise UserError(
                f"{path}:{line}: expected id<TAB>index with a whole number, found {index[:40]!r}; download the file again"
            )
        if index in known or id_ in seen:
            raise UserError(
                f"{path}:{line}: index {index} or id {id_!r} comes twice; download the file again"
            )
        known[index] = id_
        seen.add(id_)
    return dict(sorted(known.items(), key=lambda entry: int(entry[0])))
