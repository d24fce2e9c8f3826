"""Headers of RecBole's atomic files: columns `name:type`, tab-separated, and which of them are users, items, times, titles."""

from pathlib import Path

from prep.readers.columns import Sheet, open_sheet
from prep.readers.headers import simple
from prep.readers.table import refuse_twice
from prep.steps.problems import Problem
from toolkit.errors import UserError

NAMES = {"user": "user_id", "item": "item_id", "time": "timestamp"}
_TYPES = ("token", "token_seq", "float", "float_seq")
# Names of title columns, most reliable first; then the endings of such names.
_TITLES = (
    "title",
    "itemtitle",
    "movietitle",
    "videotitle",
    "producttitle",
    "newstitle",
    "name",
    "itemname",
)
_TITLE_ENDINGS = ("title", "name")
_TEXT = "text"  # in UniSRec's and MISSRec's sets: title, categories and brand; read if there is no title


def open_atomic(path: Path) -> Sheet:
    """Opens a file; the names of its columns include the types.

    Raises:
        UserError: if the header has no types.
    """
    sheet = open_sheet(path, (), "\t")
    if not any(":" in name and name.rpartition(":")[2] in _TYPES for name in sheet.names):
        raise UserError(
            f"{path}:1: expected a header of RecBole's atomic files, such as user_id:token<TAB>item_id:token, found "
            f"{' '.join(sheet.names)[:80]!r}; for custom tables use --layout table --columns ..."
        )
    return sheet


def plain(name: str) -> str:
    """The name of a column without its type."""
    head, colon, type_ = name.rpartition(":")
    return head if colon and type_ in _TYPES else name


def column_of(sheet: Sheet, asked: dict[str, str], role: str) -> str:
    """The full name of the column of one role.

    Raises:
        UserError: if the file has no such column, or several.
    """
    wanted = plain(asked.get(role, NAMES.get(role, role)))
    matching = [name for name in sheet.names if plain(name).strip() == wanted]
    if not matching:
        raise UserError(
            f"{sheet.path}:1: no column {wanted!r} ({role}); found {', '.join(sheet.names)}; name the column with "
            f"--columns {role}=NAME"
        )
    refuse_twice(sheet.path, [plain(name) for name in sheet.names], [wanted])
    return matching[0]


def title_of(sheet: Sheet, asked: dict[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """The title column, and notes on how it was chosen."""
    if "title" in asked:
        return {"title": column_of(sheet, asked, "title")}, []
    likely = _titles(sheet)
    if not likely:
        message = (
            f"{sheet.path.name}: no column has a name like a title (found {', '.join(sheet.names)}); "
            "titles are empty; to choose a column use --columns title=NAME"
        )
        return {}, [Problem(None, "title_column", message)]
    if len(likely) == 1:
        return {"title": likely[0]}, []
    message = (
        f"{sheet.path.name}: several columns may hold titles ({', '.join(likely)}); {likely[0]} is used; "
        f"to choose another use --columns title={plain(likely[1])}"
    )
    return {"title": likely[0]}, [Problem(None, "title_column", message)]


def _titles(sheet: Sheet) -> list[str]:
    texts = [name for name in sheet.names if name.rpartition(":")[2] in ("token", "token_seq")]
    exact = [name for title in _TITLES for name in texts if simple(plain(name)) == title]
    ending = [
        name
        for end in _TITLE_ENDINGS
        for name in texts
        if simple(plain(name)).endswith(end) and name not in exact
    ]
    found = [*exact, *ending] or [name for name in texts if simple(plain(name)) == _TEXT]
    return list(dict.fromkeys(found))
