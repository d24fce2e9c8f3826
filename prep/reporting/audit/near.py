"""Near-duplicate items: the same normalised title, near-equal covers, near-equal stored states."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.reporting.audit.covers import NEAR as BITS
from prep.reporting.audit.covers import near_covers
from prep.reporting.audit.similar import grouped
from prep.reporting.audit.states import NEAR as COSINE
from prep.reporting.audit.states import near_states
from prep.reporting.finding import Facts, Finding, percent
from toolkit import Dataset
from toolkit.measures import number

SHARE = 0.05  # of the items; above it, near-duplicates need a word in a paper
_EFFECT = (
    "a model that reads only this content cannot tell them apart, so their ranks are shared or decided by chance, and an id "
    "or another source wins on them"
)


def near_duplicates(data: Dataset, duplicates: Facts) -> Facts:
    """The figures of `near_duplicates`: titles, covers (null without them), states by tower, and identical content.

    Args:
        data: the dataset.
        duplicates: facts of `prep.reporting.duplicates`.
    """
    return {
        "titles": near_titles(data.items),
        "covers": near_covers(data),
        "states": near_states(data),
        "identical": {
            name: {key: groups[key] for key in ("groups", "items")} if groups else None
            for name, groups in duplicates.items()
        },
    }


def near_titles(items: pa.Table) -> Facts:
    """Groups of items with the same normalised title.

    Args:
        items: `toolkit.schema.ITEMS`.
    """
    titles = normalised(items.column("title").combine_chunks())
    filled = pc.not_equal(titles, "")
    codes = titles.filter(filled).dictionary_encode().indices.to_numpy().astype(np.int64)
    ids = items.column("item_id").filter(filled).to_pylist()
    return {"compared": len(ids), **grouped(codes, ids)}


def normalised(titles: pa.Array) -> pa.Array:
    """Titles in lower case, compatibility characters composed (NFKC), other characters than letters and digits dropped.

    >>> normalised(pa.array(["Red  Lamp!", "red lamp", "Ｒed-lamp"])).to_pylist()
    ['red lamp', 'red lamp', 'red lamp']
    """
    lower = pc.utf8_lower(pc.utf8_normalize(titles, form="NFKC"))
    words = pc.replace_substring_regex(lower, r"[^\p{L}\p{M}\p{N}]+", " ")
    return pc.utf8_trim_whitespace(words)


def find_near(audit: Facts) -> Iterator[Finding]:
    """Findings about near-duplicate items, a finding per source."""
    near = audit["near_duplicates"]
    yield from _identical(near["identical"])
    titles, covers = (_more(near, name) for name in ("titles", "covers"))
    yield from _finding("near_titles", titles, "the same title but for case and punctuation")
    what = f"covers whose perceptual hashes differ in at most {BITS} of 64 bits"
    yield from _finding("near_covers", covers, what)
    for tower, facts in near["states"].items():
        if facts and facts["collapsed"]:
            yield Finding(
                "warning",
                "collapsed_states",
                f"Tower {tower}: all states are near-equal",
                "check its sources and its encoder, and encode again",
                "a model that reads this tower ranks all items alike",
                "caution",
            )
        else:
            what = f"near-equal states in tower {tower} (cosine above {COSINE} around the mean)"
            yield from _finding("near_states", facts, what)


def _identical(identical: Facts) -> Iterator[Finding]:
    for name, noun in {"titles": "title", "covers": "cover", "frames": "clip"}.items():
        entry = identical[name]
        if entry and entry["groups"]:
            yield Finding(
                "note",
                f"identical_{name}",
                f"{entry['items']:,} items share their {noun} with others, in {number(entry['groups'], 'group')}",
                "a tower with only this source cannot distinguish them, so add another tower",
                _EFFECT,
            )


def _more(near: Facts, name: str) -> Facts | None:
    """Near-duplicates, unless all of them are identical and therefore stated already."""
    facts, identical = near[name], near["identical"][name]
    return facts if facts and facts["items"] > (identical or {"items": 0})["items"] else None


def _finding(kind: str, facts: Facts | None, noun: str) -> Iterator[Finding]:
    if facts and facts["groups"]:
        many = facts["share"] >= SHARE
        yield Finding(
            "note",
            kind,
            f"{facts['items']:,} items ({percent(facts['share'])}) have {noun}, in {number(facts['groups'], 'group')}",
            "merge items that are the same, or add a source or ids that tell them apart",
            _EFFECT,
            "caution" if many else "fit",
        )
