"""What the publishers of a dump say it holds, and whether it does.

A release is recognised by the names of the dump's files alone, and only where those names are of
that release for certain; otherwise nothing is compared. The numbers: MicroLens (arXiv 2309.15379)
and NineRec (arXiv 2309.07705) as published; Scientific of IISAN (arXiv 2404.02059) as counted in
its published files.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Release(NamedTuple):
    """One published set.

    Args:
        name: as its publishers call it.
        users: how many it has.
        items: how many it has.
        interactions: how many it has.
    """

    name: str
    users: int
    items: int
    interactions: int


def _ninerec(name: str, users: int, items: int, interactions: int) -> dict[str, Release]:
    return {f"{name}_": Release(f"NineRec {name}", users, items, interactions)}


# By the beginning of every input file's name.
RELEASES = {
    "MicroLens-50k_": Release("MicroLens-50k", 50_000, 19_220, 359_708),
    "MicroLens-100k_": Release("MicroLens-100k", 100_000, 19_738, 719_405),
    "MicroLens-1M_": Release("MicroLens-1M", 1_000_000, 91_402, 9_095_620),
    **_ninerec("Bili_Food", 6_549, 1_579, 39_740),
    **_ninerec("Bili_Dance", 10_715, 2_307, 83_392),
    **_ninerec("Bili_Movie", 16_525, 3_509, 115_576),
    **_ninerec("Bili_Cartoon", 30_300, 4_724, 215_443),
    **_ninerec("Bili_Music", 50_664, 6_038, 360_177),
    **_ninerec("KU", 2_034, 5_370, 18_519),
    **_ninerec("QB", 17_722, 6_121, 133_664),
    **_ninerec("TN", 20_211, 3_334, 122_576),
    **_ninerec("DY", 20_398, 8_299, 139_834),
}
LAYOUTS = {"MicroLens": "microlens", "NineRec": "ninerec"}
SCIENTIFIC = Release("Scientific of IISAN", 12_076, 20_825, 85_211)
SCIENTIFIC_FILES = {
    "Industrial_and_Scientific_items.tsv",
    "am_Industrial_and_Scientific_users.tsv",
}


def recognise(layout: str, files: Iterable[str]) -> Release | None:
    """The release whose files these are, or None where the names do not say so for certain.

    Args:
        layout: how the dump was read.
        files: names of all input files.
    """
    names = set(files)
    if layout == "amazon" and names == SCIENTIFIC_FILES:
        return SCIENTIFIC
    for beginning, release in RELEASES.items():
        known_layout = LAYOUTS[release.name.replace("-", " ").split()[0]]
        if layout == known_layout and names and all(n.startswith(beginning) for n in names):
            return release
    return None


def compare(release: Release, counts: dict[str, int]) -> dict[str, Any]:
    """Published and found numbers side by side; `difference` is negative where some are missing."""
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
