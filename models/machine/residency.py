"""Where stored hidden states lie while a model reads them: on its device, in memory, or on disk."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]
import torch

from toolkit.errors import UserError

Place = Literal["device", "host", "mapped"]

SHARE = 0.5  # of the free memory, which states may take unless a budget is given
_WHERE = {
    "device": "on the device",
    "host": "in this machine's memory, each batch gathered ahead",
    "mapped": "on disk, mapped, each batch gathered ahead",
}
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Residency:
    """Where stored states lie, and why there.

    Args:
        place: `device`, `host` or `mapped`.
        states_bytes: of all towers of the run.
        why: in words.
    """

    place: Place
    states_bytes: int
    why: str

    def __str__(self) -> str:
        return f"hidden states ({_gib(self.states_bytes)}): {_WHERE[self.place]}; {self.why}"


def choose(
    states_bytes: int,
    *,
    device: torch.device,
    place: Place | Literal["auto"] = "auto",
    device_gib: float | None = None,
    host_gib: float | None = None,
) -> Residency:
    """The first of device, host and mapped that has room, or the one that is asked for.

    The CPU's own memory is that of its host, so that states beyond it are mapped at once.

    Args:
        states_bytes: of all towers.
        device: where the model computes.
        place: the one asked for; `auto` chooses.
        device_gib: what states may take of a GPU; by default half of what is free.
        host_gib: what they may take of this machine's memory, in each process; by default half of
            what is free, divided by the processes that were launched here.

    Raises:
        UserError: if there is no room at all at the place that is asked for.
    """
    rooms = _rooms(device, device_gib, host_gib)
    if place != "auto":
        for room in rooms:
            if room.place == place and states_bytes > room.free_bytes:
                raise UserError(
                    f"residency.place {place}: the states take {_gib(states_bytes)}, and "
                    f"{_gib(room.free_bytes)} are free in {room.name}; use auto or mapped"
                )
        return Residency(place, states_bytes, "as residency.place says")
    beyond: dict[str, None] = {}  # in order; on a CPU, device and host are one room
    for room in rooms:
        if states_bytes <= room.budget_bytes:
            return Residency(room.place, states_bytes, "; ".join([*beyond, f"within {room}"]))
        beyond[f"beyond {room}"] = None
    return Residency("mapped", states_bytes, "; ".join(beyond))


@dataclass(frozen=True)
class _Room:
    """Memory that states may lie in."""

    place: Place
    name: str
    free_bytes: int
    budget_bytes: float

    def __str__(self) -> str:
        return (
            f"{_gib(self.budget_bytes)}, what they may take of {self.name} "
            f"({_gib(self.free_bytes)} free)"
        )


def _rooms(device: torch.device, device_gib: float | None, host_gib: float | None) -> list[_Room]:
    """The rooms in the order in which they are wanted."""
    free = _free_host_bytes()
    share = free * SHARE / _processes_here()
    budget = share if host_gib is None else host_gib * 2**30
    host = _Room("host", "this machine's memory", free, budget)
    if device.type != "cuda":
        return [replace(host, place="device"), host]
    free, _ = torch.cuda.mem_get_info(device)
    budget = free * SHARE if device_gib is None else device_gib * 2**30
    return [_Room("device", str(device), free, budget), host]


def _processes_here() -> int:
    """Processes of this run on this machine, as torch's and Accelerate's launchers say."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _free_host_bytes() -> int:
    """Memory that can be had without swapping; within a container, up to its limit."""
    free = int(psutil.virtual_memory().available)
    limit = _CGROUP / "memory.max"
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int((_CGROUP / "memory.current").read_text()))
    return max(free, 0)


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:,.2f} GiB"
