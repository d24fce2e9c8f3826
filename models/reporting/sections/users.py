"""The gallery: a table of users, and for each user the history, the item taken next, and every run's list.

All of it is readable without a script; the script shows one user and one run at a time, and sorts and filters.
"""

from collections.abc import Collection, Mapping

from models.reporting.sections.parts import Facts, View
from toolkit.graphemes import cut
from toolkit.page.markup import jpeg_address

LONG = 90  # letters of a caption that are always shown


def cover_styles(group: int, covers: Mapping[str, bytes]) -> str:
    """Each cover once, as the background of the class that its pictures have."""
    return "".join(
        f".c{group}-{number} {{ background-image: url({jpeg_address(jpeg)}) }}\n"
        for number, jpeg in covers.items()
    )


def users(facts: Facts, position: int, covers: Collection[str]) -> View:
    """The gallery of a group.

    Args:
        facts: of the report.
        position: of the group among all groups.
        covers: numbers of the items of its gallery that have one.
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
    """The words of a long caption that are always shown; None of a short caption, which is shown whole."""
    return None if len(caption) <= LONG else cut(caption, LONG).rsplit(" ", 1)[0]


def is_hit(rank: float | None) -> bool:
    """Whether a rank is among the first ten; a masked target has none."""
    return rank is not None and rank <= 10


def rank(rank: float | None) -> str:
    """A rank as text: a whole number, or with the half of a tie; `masked` for a target that is masked.

    >>> rank(3.0), rank(1200.5), rank(None)
    ('3', '1,200.5', 'masked')
    """
    if rank is None:
        return "masked"
    return f"{rank:,.0f}" if rank == int(rank) else f"{rank:,.1f}"
