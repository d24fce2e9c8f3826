"""Near-equal stored states of a tower: cosine above 0.99 after the mean is subtracted.

Encoders have a common direction (arXiv 1702.01417), so the mean of the catalogue is subtracted first. Candidates agree in
one of 16 bands of signs of random projections (Charikar, 2002): at a cosine of 0.99 a sign differs with probability
4.5%, and a pair is missed with probability 3 · 10⁻⁵. HLLM masks negatives whose cosine exceeds .99; when all vectors
coincide, its loss falls to 0 for good (bytedance/HLLM issue 15).

N items, D values.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prep.reporting.audit.similar import Similar, grouped, similar_groups
from prep.reporting.finding import Facts
from prep.reporting.measures import Ints
from toolkit import Dataset
from toolkit.store import Table

if TYPE_CHECKING:
    from toolkit.states import StateTable

NEAR = 0.99
MOST = 100_000  # items that are compared; evenly spaced ones of a larger catalogue
COLLAPSED = 1e-4  # share of the variance around the mean in the squared length, below which all states are near-equal
BANDS, BITS = 16, 16
AT_ONCE, READ_AT_ONCE = 1 << 16, 4096  # pairs, items
Vectors = NDArray[np.float32]


def near_states(data: Dataset) -> Facts:
    """Groups of items with near-equal states, by tower; None for a tower that is not finished.

    Returns:
        Of each tower: compared and left_out: number of items. collapsed: whether all states are near-equal. complete:
        whether every candidate pair was compared. groups, items, share, listed: groups of near-equal states.
    """
    return {
        tower: _near(data, tower) if _is_finished(data, tower) else None for tower in data.towers()
    }


def _is_finished(data: Dataset, tower: str) -> bool:
    batches = Table(data.path / "states" / tower).batches(["item"])
    return sum(batch.num_rows for batch in batches) == data.items.num_rows


def _near(data: Dataset, tower: str) -> Facts:
    table = data.state_table(tower)
    count = len(table) - 1
    items = np.linspace(1, count, min(count, MOST)).round().astype(np.int64)
    vectors = _last_states(table, items)
    present = np.abs(vectors).sum(axis=1) > 0  # items without a source have zeros
    items, vectors = items[present], vectors[present]
    collapsed = is_collapsed(vectors)
    similar = Similar(np.zeros(len(vectors), np.int64), True) if collapsed else _similar(vectors)
    ids = data.items.column("item_id").take(items - 1).to_pylist()
    return {
        "compared": len(items),
        "left_out": count - min(count, MOST),
        "collapsed": collapsed,
        "complete": similar.complete and count <= MOST,
        **grouped(similar.labels, ids),
    }


def _last_states(table: "StateTable", items: Ints) -> Vectors:
    """(U, D) the last stored state of each item, (U,)."""
    import torch  # a dataset without towers needs no torch

    parts = torch.from_numpy(items).split(READ_AT_ONCE)
    return np.concatenate([table.gather(part)[:, -1].float().numpy() for part in parts])


def is_collapsed(vectors: Vectors) -> bool:
    """Whether almost nothing distinguishes the vectors, (N, D), from their mean."""
    if len(vectors) < 2:
        return False
    variance = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    return variance <= COLLAPSED * float((vectors**2).sum())


def _similar(vectors: Vectors) -> Similar:
    centred = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(length, np.finfo(np.float32).tiny)
    draw = np.random.default_rng(0)
    planes = draw.standard_normal((vectors.shape[1], BANDS * BITS), dtype=np.float32)
    signs = (unit @ planes > 0).reshape(len(unit), BANDS, BITS)
    keys = signs @ (1 << np.arange(BITS)).astype(np.uint64)

    def is_near(left: Ints, right: Ints) -> NDArray[np.bool_]:
        near = np.zeros(len(left), np.bool_)
        for start in range(0, len(left), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            near[part] = np.einsum("pd,pd->p", unit[left[part]], unit[right[part]]) > NEAR
        return near

    return similar_groups(keys, is_near)
