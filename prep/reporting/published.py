"""Compares the counts of a dump with those that its publishers state.

A release is recognised by its layout and file names. If these are ambiguous, nothing is compared. Sources of the
counts: MicroLens (arXiv 2309.15379) and NineRec (arXiv 2309.07705) as published; Scientific of IISAN (arXiv 2404.02059)
as counted in its published files.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Release(NamedTuple):
    """A published dataset.

    Args:
        name: name of the release.
        layout: layout of the dump.
        beginnings: possible prefixes of its file names.
        users: number of users.
        items: number of items.
        interactions: number of interactions.
    """

    name: str
    layout: str
    beginnings: tuple[str, ...]
    users: int
    items: int
    interactions: int


def _microlens(size: str, users: int, items: int, interactions: int) -> Release:
    name = f"MicroLens-{size}"
    return Release(name, "microlens", (f"{name}_",), users, items, interactions)


def _ninerec(name: str, users: int, items: int, interactions: int) -> Release:
    return Release(f"NineRec {name}", "ninerec", (f"{name}_",), users, items, interactions)


_SCIENTIFIC_FILES = (
    "Industrial_and_Scientific_items.tsv",
    "am_Industrial_and_Scientific_users.tsv",
)
RELEASES = (
    _microlens("50k", 50_000, 19_220, 359_708),
    _microlens("100k", 100_000, 19_738, 719_405),
    _microlens("1M", 1_000_000, 91_402, 9_095_620),
    _ninerec("Bili_Food", 6_549, 1_579, 39_740),
    _ninerec("Bili_Dance", 10_715, 2_307, 83_392),
    _ninerec("Bili_Movie", 16_525, 3_509, 115_576),
    _ninerec("Bili_Cartoon", 30_300, 4_724, 215_443),
    _ninerec("Bili_Music", 50_664, 6_038, 360_177),
    _ninerec("KU", 2_034, 5_370, 18_519),
    _ninerec("QB", 17_722, 6_121, 133_664),
    _ninerec("TN", 20_211, 3_334, 122_576),
    _ninerec("DY", 20_398, 8_299, 139_834),
    Release("IISAN Scientific", "amazon", _SCIENTIFIC_FILES, 12_076, 20_825, 85_211),
)


def recognise(layout: str | None, files: Iterable[str]) -> Release | None:
    """The release with these files, or None if their names do not identify one.

    Args:
        layout: layout of the dump.
        files: names of all input files.
    """
    names = list(files)
    for release in RELEASES:
        fits = all(name.startswith(release.beginnings) for name in names)
        if names and fits and layout == release.layout:
            return release
    return None


def compare(release: Release, counts: dict[str, int]) -> dict[str, Any]:
    """Published and actual counts; `difference` is negative if some are missing."""
    return {
        "release": release.name,
        "counts": {
            what: {
                "published": getattr(release, what),
                "found": counts[what],
                "difference": counts[what] - getattr(release, what),
            }
            for what in ("users", "items", "interactions")
        },
    }
