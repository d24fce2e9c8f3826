"""Ranges of histories that are read some users at a time, against loops over each range."""

import numpy as np
import pytest

from toolkit import histories
from toolkit.histories import blocks, occurring

USERS, ITEMS = 1_000, 4_000


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 rows."""
    monkeypatch.setattr(histories, "blocks", lambda rows, size=64: blocks(rows, 64))


@pytest.mark.usefixtures("few_at_once")
def test_an_item_occurs_if_it_is_in_any_range() -> None:
    """Ranges may be empty, touch, and leave out interactions between them."""
    random = np.random.default_rng(0)
    bounds = np.cumsum(np.append(0, random.integers(1, 9, USERS)))
    items = random.integers(1, ITEMS + 1, bounds[-1], dtype=np.int32)
    starts = bounds[:-1] + random.integers(0, np.diff(bounds) + 1)
    stops = starts + random.integers(0, bounds[1:] - starts + 1)
    expected = {
        item for start, stop in zip(starts, stops, strict=True) for item in items[start:stop]
    }
    assert (stops == starts).any() and 0 < len(expected) < len(np.unique(items))
    found = np.flatnonzero(occurring(items, starts, stops, items=ITEMS))
    assert set(found.tolist()) == expected
