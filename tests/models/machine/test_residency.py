"""Residency of states: chosen by free memory, reported, and without effect on results."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_dataset import ITEMS

import models.machine.residency
from models.build import build
from models.config import RunConfig, parse_run_config
from models.inputs.batches import Batches
from models.inputs.features import StoredStates
from models.machine.prefetch import DEPTH, make_each
from models.machine.residency import choose
from models.train import train
from toolkit import UserError, open_dataset

GIB = 2**30
CPU, GPU = torch.device("cpu"), torch.device("cuda")
PLACES = ("device", "host", "mapped")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with 8 GiB free in a machine with 32."""
    monkeypatch.setattr(models.machine.residency, "_free_host_bytes", lambda: 32 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GIB, 80 * GIB))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


# --- what is chosen


@pytest.mark.parametrize(
    ("gib", "on_gpu", "on_cpu"),
    [
        (4, "device", "device"),
        (5, "host", "device"),
        (16, "host", "device"),
        (17, "mapped", "mapped"),
    ],
)
def test_the_first_place_that_has_room(free: None, gib: int, on_gpu: str, on_cpu: str) -> None:
    """Half of what is free: 4 GiB of the GPU, 16 of the machine."""
    assert choose(gib * GIB, device=GPU).place == on_gpu
    assert choose(gib * GIB, device=CPU).place == on_cpu


def test_budgets_go_before_shares(free: None) -> None:
    assert choose(6 * GIB, device=GPU, device_gib=7).place == "device"
    assert choose(1 * GIB, device=GPU, device_gib=0.5).place == "host"
    assert choose(1 * GIB, device=GPU, device_gib=0.5, host_gib=0.5).place == "mapped"
    assert choose(1 * GIB, device=CPU, host_gib=0.5).place == "mapped"


def test_processes_of_a_machine_share_its_memory(
    free: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # so each has 4 of the 16 GiB
    assert choose(4 * GIB, device=CPU).place == "device"
    assert choose(5 * GIB, device=CPU).place == "mapped"


def test_the_reason_is_said(free: None) -> None:
    assert str(choose(5 * GIB, device=GPU)) == (
        "hidden states (5.00 GiB): in this machine's memory, batches prefetched; beyond the budget of 4.00 GiB in cuda "
        "(8.00 GiB free); within the budget of 16.00 GiB in this machine's memory (32.00 GiB free)"
    )
    assert choose(1, device=CPU, place="mapped").why == "set by residency.place"
    assert choose(17 * GIB, device=CPU).why.count("beyond") == 1


def test_no_room_where_it_is_asked_for(free: None) -> None:
    for device, place in ((GPU, "device"), (CPU, "device"), (CPU, "host")):
        with pytest.raises(
            UserError, match=rf"{place}: the states need 33.00 GiB, and \d+\.00 GiB"
        ):
            choose(33 * GIB, device=device, place=place)  # type: ignore[arg-type]
    assert choose(33 * GIB, device=CPU, place="mapped").place == "mapped"


def test_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.machine.residency, "_CGROUP", tmp_path)
    unlimited = models.machine.residency._free_host_bytes()
    assert unlimited > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert models.machine.residency._free_host_bytes() > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert models.machine.residency._free_host_bytes() == 600_000


# --- what does not depend on it


def settings(data: Path, output: Path, *more: str) -> RunConfig:
    return parse_run_config(
        ["--data", str(data), "--output", str(output), "--towers=[title,cover]", *more]
    )


def losses(dataset: Path, place: str, device: torch.device = CPU) -> list[float]:
    """The losses of two epochs of training."""
    data = open_dataset(dataset)
    splits = data.splits(max_len=10)
    tables = {name: data.state_table(name) for name in ("title", "cover")}
    features = StoredStates(tables, device=device, place=place)  # type: ignore[arg-type]
    batches = Batches(splits, features, batch_size=16, seed=0, device=device)
    torch.manual_seed(0)
    model = build(settings(dataset, dataset / "unused"), data).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    found = []
    for epoch in (1, 2):
        for batch in batches.epoch(epoch):
            loss = model(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.detach())  # read at the end: no step waits for the GPU
    return torch.stack(found).tolist()


@pytest.mark.parametrize("place", ["host", "mapped"])
def test_losses_are_the_same_bit_for_bit(dataset: Path, place: str) -> None:
    expected = losses(dataset, "device")
    assert len(expected) == 2 * 8 and len(set(expected)) == len(expected)
    assert losses(dataset, place) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("place", PLACES)
def test_batches_on_a_gpu_are_those_on_the_cpu(dataset: Path, place: str) -> None:
    """Every value of two epochs, read while the next gathers and copies are under way."""
    data = open_dataset(dataset)
    tables = {name: data.state_table(name) for name in ("title", "cover")}
    whole = {name: table.load() for name, table in tables.items()}
    features = StoredStates(tables, device="cuda", place=place)  # type: ignore[arg-type]
    batches = Batches(data.splits(), features, batch_size=4, seed=0, device="cuda")
    for epoch in (1, 2):
        for batch in batches.epoch(epoch):
            for name, states in batch.features.items():
                assert states.is_cuda and torch.equal(states.cpu(), whole[name][batch.items])


@pytest.mark.parametrize("place", PLACES)
def test_items_of_equal_states_are_found_everywhere(dataset: Path, place: str) -> None:
    tables = {"title": open_dataset(dataset).state_table("title")}
    features = StoredStates(tables, place=place)  # type: ignore[arg-type]
    assert features.same_as().tolist() == list(range(ITEMS + 1))
    assert features.residency.states_bytes == (ITEMS + 1) * 3 * 16 * 2


@pytest.mark.parametrize("place", PLACES)
def test_a_run_says_where_its_states_lie(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    options = [f"--residency.place={place}", "--train.epochs=1", "--sequence.max_len=5"]
    report = train(settings(dataset, tmp_path / "run", *options))
    assert report["users"] == 120
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["residency"] == {
        "place": place,
        "states_bytes": (ITEMS + 1) * (3 * 16 + 4 * 24) * 2,
        "why": "set by residency.place",
    }
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("hidden states")]
    assert line.endswith("set by residency.place")


def test_a_run_is_read_wherever_there_is_room(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--residency.place=device", "--train.epochs=1", "--sequence.max_len=5"]
    train(settings(dataset, tmp_path / "run", *options))
    here = models.load(tmp_path / "run").item_embeddings()
    monkeypatch.setattr(models.machine.residency, "_free_host_bytes", lambda: 10)
    elsewhere = models.load(tmp_path / "run")
    assert elsewhere.features.residency and elsewhere.features.residency.place == "mapped"
    assert torch.equal(elsewhere.item_embeddings(), here)


# --- prefetch


def test_what_is_made_ahead_comes_in_order() -> None:
    assert list(make_each(lambda n: n * n, range(50), prefetch=True, device="cpu")) == [
        n * n for n in range(50)
    ]
    assert list(make_each(str, [], prefetch=True, device="cpu")) == []


def test_no_more_is_made_than_a_few() -> None:
    """While the first is in use, DEPTH more are asked for, and no others."""
    asked: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    made = make_each(str, numbers(), prefetch=True, device="cpu")
    assert next(made) == "0"
    assert asked == list(range(1 + DEPTH))
    made.close()  # type: ignore[attr-defined]


def test_a_failure_comes_in_its_turn() -> None:
    made = make_each(lambda n: 6 // n, [1, 2, 0, 3], prefetch=True, device="cpu")
    assert [next(made), next(made)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(made)
