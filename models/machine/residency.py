"""Where stored hidden states are kept while a model reads them: on its device, in memory, or on disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]
import torch

from models.machine.threads import processes_here
from toolkit.errors import UserError

Location = Literal["device", "host", "mapped"]

SHARE = 0.5  # of the free memory: the default budget of states
_WHERE = {
    "device": "on the device",
    "host": "in this machine's memory, batches prefetched",
    "mapped": "on disk, mapped, batches prefetched",
}
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Residency:
    """Where stored states are kept, and why.

    Args:
        place: `device`, `host` or `mapped`.
        states_bytes: size of the states of all towers of the run.
        why: the reason, as a clause for a message.
    """

    place: Location
    states_bytes: int
    why: str

    def __str__(self) -> str:
        return f"hidden states ({_gib(self.states_bytes)}): {_WHERE[self.place]}; {self.why}"


def choose(
    states_bytes: int,
    *,
    device: torch.device,
    place: Location | Literal["auto"] = "auto",
    device_gib: float | None = None,
    host_gib: float | None = None,
) -> Residency:
    """The first of device, host and mapped that the states fit into, or the requested one.

    On a CPU, device and host are the same memory, so that states beyond it are mapped at once.

    Args:
        states_bytes: size of the states of all towers.
        device: where the model computes.
        place: the requested location; `auto` chooses.
        device_gib: budget of the states on a GPU; by default half of its free memory.
        host_gib: budget of the states in this machine's memory, for each process; by default half of the free memory,
            divided by the number of processes that were launched here.

    Raises:
        UserError: if the states do not fit into the requested location.
    """
    memories = _memories(device, device_gib, host_gib)
    if place != "auto":
        for memory in memories:
            if memory.place == place and states_bytes > memory.free_bytes:
                raise UserError(
                    f"residency.place {place}: the states need {_gib(states_bytes)}, and "
                    f"{_gib(memory.free_bytes)} are free in {memory.name}; use auto or mapped"
                )
        return Residency(place, states_bytes, "set by residency.place")
    beyond: dict[str, None] = {}  # an ordered set: on a CPU, device and host are the same memory
    for memory in memories:
        if states_bytes <= memory.budget_bytes:
            return Residency(memory.place, states_bytes, "; ".join([*beyond, f"within {memory}"]))
        beyond[f"beyond {memory}"] = None
    return Residency("mapped", states_bytes, "; ".join(beyond))


@dataclass(frozen=True)
class _Memory:
    """Memory that can hold states."""

    place: Location
    name: str
    free_bytes: int
    budget_bytes: float

    def __str__(self) -> str:
        return (
            f"the budget of {_gib(self.budget_bytes)} in {self.name} ({_gib(self.free_bytes)} free)"
        )


def _memories(
    device: torch.device, device_gib: float | None, host_gib: float | None
) -> list[_Memory]:
    """The memories in order of preference."""
    free = _free_host_bytes()
    share = free * SHARE / processes_here()
    budget = share if host_gib is None else host_gib * 2**30
    host = _Memory("host", "this machine's memory", free, budget)
    if device.type != "cuda":
        return [replace(host, place="device"), host]
    free, _ = torch.cuda.mem_get_info(device)
    budget = free * SHARE if device_gib is None else device_gib * 2**30
    return [_Memory("device", str(device), free, budget), host]


def _free_host_bytes() -> int:
    """Memory that is available without swapping; within a container, up to its limit."""
    free = int(psutil.virtual_memory().available)
    limit = _CGROUP / "memory.max"
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int((_CGROUP / "memory.current").read_text()))
    return max(free, 0)


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:,.2f} GiB"
