"""Peak rates of the GPU, and how close the gathers of the store come to them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.made import TOWERS, Size
from models.inputs.features import StoredStates
from toolkit.dataset import open_dataset

ROUNDS = 20


def ceilings(size: Size) -> dict[str, float]:
    """Bytes per second of a large copy on the device (read and written), and operations per second of large matrix products."""
    large = size.width > 100  # else a rehearsal
    device = _device()
    source = torch.empty(1 << (30 if large else 16), dtype=torch.uint8, device=device)
    into = torch.empty_like(source)
    found = {"copy_bytes_a_second": 2 * len(source) / seconds_of(lambda: into.copy_(source))}
    side = 8192 if large else 64
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        found[f"{name}_flops_a_second"] = 2 * side**3 / seconds_of(lambda a=a, b=b: a @ b)
    return found


def residency(work: Path, size: Size) -> dict[str, Any]:
    """Seconds of a gather of states for each residency, and its share of the rate of a copy."""
    dataset = open_dataset(work / "data")
    tables = {name: dataset.state_table(name) for name in TOWERS}
    bus = _bus_bytes_a_second(size)
    on_device = ceilings(size)["copy_bytes_a_second"]
    found: dict[str, Any] = {"bus_bytes_a_second": bus, "device_copy_bytes_a_second": on_device}
    for place in ("device", "host", "mapped"):
        features = StoredStates(tables, device=_device(), place=place)  # type: ignore[arg-type]
        for count in (size.asked, 10 * size.asked):
            items = torch.randint(1, size.items + 1, (count,), generator=torch.Generator())
            nbytes = sum(table.nbytes for table in tables.values()) * count // (size.items + 1)
            seconds = seconds_of(lambda f=features, i=items: f.gather(i))
            most = (
                on_device / 2 if place == "device" else bus
            )  # of a device's copy, half is reading
            found[f"{place}, {count} items"] = {
                "ms": 1e3 * seconds,
                "bytes_a_second": nbytes / seconds,
                "share_of_copy": nbytes / seconds / most,
            }
    return found


def _bus_bytes_a_second(size: Size) -> float:
    """Bytes per second of a copy from pinned memory to the device."""
    count = 1 << (28 if size.width > 100 else 16)
    source = torch.empty(count, dtype=torch.uint8, pin_memory=_device() == "cuda")
    into = torch.empty(count, dtype=torch.uint8, device=_device())
    return count / seconds_of(lambda: into.copy_(source, non_blocking=True))


def seconds_of(work: Callable[[], Any], *, rounds: int = ROUNDS) -> float:
    """Median seconds of several rounds after two warm-up rounds; the device is synchronised around each."""
    seconds = []
    for _ in range(rounds + 2):
        rest()
        started = time.perf_counter()
        work()
        rest()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[2:])[rounds // 2]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def rest() -> None:
    """Waits until the GPU has done all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
