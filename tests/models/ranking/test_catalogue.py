"""The catalogue is encoded once per evaluation, over all processes, in the run's precision."""

import socket
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from catalogue_work import ITEMS, TWIN, LastItem, encode
from torch import Tensor, nn

from models import Recommender
from models.inputs.features import ItemNumbers
from models.machine.parallel import TIMEOUT
from models.ranking.catalogue import encode_all, encode_catalogue


@pytest.mark.slow
def test_two_processes_encode_each_content_once_and_wait_for_the_slower(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    forked.call_two(encode, port, str(tmp_path / "out"))
    found = [torch.load(f"{tmp_path / 'out'}-{rank}") for rank in (0, 1)]
    shares = [items for items, _, _ in found]
    assert sorted(shares[0] + shares[1]) == [n for n in range(1, ITEMS + 1) if n != TWIN]
    assert [len(share) for share in shares] == [30, 30]
    numbers = torch.arange(ITEMS + 1.0)
    numbers[TWIN] = 3
    for _, embeddings, waits in found:
        assert torch.equal(embeddings, torch.stack([numbers, numbers.square()], dim=1))
        assert waits == TIMEOUT.total_seconds() >= 3600


@pytest.mark.parametrize(("items", "own"), [(7, [[1, 4, 7], [2, 5], [3, 6]]), (2, [[1], [2], [1]])])
def test_no_item_is_encoded_twice_unless_a_process_had_none(
    monkeypatch: pytest.MonkeyPatch, items: int, own: list[list[int]]
) -> None:
    encoded: list[list[int]] = []

    class Noting(nn.Module):
        def forward(self, features: dict[str, Tensor]) -> Tensor:
            encoded.append(features["id"].tolist())
            return torch.ones(len(features["id"]), 1)

    monkeypatch.setattr("models.ranking.catalogue.gather_shares", lambda local, n: local.new_ones(n, 1))  # fmt: skip
    for rank in range(3):
        for module in ("machine.parallel", "ranking.catalogue"):
            monkeypatch.setattr(f"models.{module}.rank_and_world", lambda rank=rank: (rank, 3))
        encode_all(Recommender(Noting(), LastItem()), ItemNumbers(items), device="cpu")
    assert encoded == own


def test_items_are_encoded_in_the_precision_of_the_run() -> None:
    torch.manual_seed(0)
    table, head = nn.Embedding(9, 16), nn.Linear(16, 4)

    class Encoder(nn.Module):
        def forward(self, features: dict[str, Tensor]) -> Tensor:
            return head(table(features["id"]))

    model, items = Recommender(Encoder(), LastItem()), np.arange(1, 9, dtype=np.int32)
    found = {
        name: encode_catalogue(model, ItemNumbers(8), items, device="cpu", precision=name)  # type: ignore[arg-type]
        for name in ("no", "bf16", "fp16")
    }
    with torch.no_grad():
        whole = head(table.weight[1:])
        with torch.autocast("cpu", torch.bfloat16):
            rough = head(table.weight[1:]).float()
    assert not torch.equal(rough, whole)
    assert torch.equal(found["bf16"].embeddings[1:], rough)
    assert found["bf16"].embeddings.dtype == torch.float32
    for name in ("no", "fp16"):  # float16 is not computed on a CPU
        assert torch.equal(found[name].embeddings[1:], whole)
