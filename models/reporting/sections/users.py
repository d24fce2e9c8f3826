"""The gallery: a table of users, and per user the history, the target and the top-k list of each run.

The gallery is readable without the script. The script shows one user and one run at a time, and sorts and filters.
"""

from collections.abc import Collection, Mapping

from models.reporting.sections.parts import Facts, View
from toolkit.graphemes import cut
from toolkit.page.markup import jpeg_address

LONG = 90  # characters of a caption that are always shown


def cover_styles(group: int, covers: Mapping[str, bytes]) -> str:
    """CSS with each cover once, as the background of the class of its images."""
    return "".join(
        f".c{group}-{number} {{ background-image: url({jpeg_address(jpeg)}) }}\n"
        for number, jpeg in covers.items()
    )


def users(facts: Facts, position: int, covers: Collection[str]) -> View:
    """The gallery of a group.

    Args:
        facts: facts of the report.
        position: index of the group among all groups.
        covers: numbers of the gallery's items with a cover.
    """
    group = facts["groups"][position]
    return {
        "position": position,
        "first": facts["runs"][group["runs"][0]],
        "runs": {str(run): facts["runs"][run] for run in group["runs"]},
        "users": group["gallery"]["users"],
        "items": group["gallery"]["items"],
        "covers": covers,
    }


def opening(caption: str) -> str | None:
    """The start of a long caption, which is always shown; None for a short caption."""
    return None if len(caption) <= LONG else cut(caption, LONG).rsplit(" ", 1)[0]


def is_hit(rank: float | None) -> bool:
    """Whether a rank is in the top 10. The rank of a masked target is None, which is not a hit."""
    return rank is not None and rank <= 10


def rank(rank: float | None) -> str:
    """A rank as text: a whole number, or a half for a tie; `masked` for a masked target.

    >>> rank(3.0), rank(1200.5), rank(None)
    ('3', '1,200.5', 'masked')
    """
    if rank is None:
        return "masked"
    return f"{rank:,.0f}" if rank == int(rank) else f"{rank:,.1f}"
