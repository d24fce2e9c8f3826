"""What live states read: the sources of items by number, located once for all batches."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_dataset import write_captions, write_dataset, write_tower

from models.inputs.features import LiveStates
from toolkit import open_dataset, sources


class Lengths:
    """A frozen encoder of the captions `said`; its only state is the length of a text."""

    layers = width = 1
    device = "cpu"
    spec = SimpleNamespace(source="said")

    @property
    def encoder(self) -> "Lengths":
        return self

    def can_read(self, text: str | None) -> bool:
        return text is not None

    def batches(self, texts: list[str], *, on_broken: object) -> Iterator:
        for row, text in enumerate(texts):
            yield [row], torch.tensor([[[float(len(text))]]])


@pytest.fixture
def data(tmp_path):
    """Items i1..i5; captions of i5, i3 and i1, in this order, of which those of i5 and i1 are equal."""
    folder = write_dataset(tmp_path, [[1, 2, 3, 4, 5]], items=5)
    write_captions(folder, "said", {"i5": "one", "i3": "three", "i1": "one"})
    write_tower(folder, "said", [f"i{n}" for n in range(1, 6)], np.zeros((5, 1, 1)))
    return open_dataset(folder)


def test_live_states_are_those_of_the_items_asked_for(data):
    live = LiveStates(data, {"said": Lengths()})  # type: ignore[dict-item]
    assert live.gather(torch.tensor([3, 2, 5, 3]))["said"].flatten().tolist() == [5, 0, 3, 5]
    assert live.same_as().tolist() == [0, 1, 2, 3, 2, 1]


def test_live_states_locate_captions_once(data, monkeypatch):
    searches = []
    rows_by_item = sources.rows_by_item
    monkeypatch.setattr(
        sources, "rows_by_item", lambda *tables: searches.append(1) or rows_by_item(*tables)
    )
    live = LiveStates(data, {"said": Lengths()})  # type: ignore[dict-item]
    for items in ([1, 2], [3], [5, 4]) * 5:
        live.gather(torch.tensor(items))
    live.same_as()
    assert searches == [1]
