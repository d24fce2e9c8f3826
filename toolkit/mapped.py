"""Memory-mapped files of which only a few rows are read.

By default, the kernel reads the surroundings of every page fault, one fault after the other: for a row of 10 KB it
reads 128 KiB, on some machines 8 MiB. With advice it prefetches only the wanted rows, many at a time: from a cold
cache, random rows are read fifteen times as fast (benchmarks/store.py).
"""

import ctypes
import mmap
from pathlib import Path

import torch
from torch import Tensor

# PyDLL keeps the interpreter's lock: a call takes a microsecond, but regaining the lock from a training thread may take
# milliseconds.
_madvise = ctypes.PyDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def map_bytes(path: Path) -> Tensor:
    """The bytes of a file, (size,) uint8, memory-mapped: pages are read at first access.

    Writes stay in this process and do not change the file. A read-only map would cause a warning of
    `torch.from_numpy`.

    Raises:
        OSError: if the file does not exist.
        RuntimeError: if the file cannot be mapped, for example because it is empty.
    """
    size = path.stat().st_size
    pages = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    mapped: Tensor = torch.empty(0, dtype=torch.uint8).set_(pages)  # type: ignore[arg-type]
    _madvise(mapped.data_ptr(), size, mmap.MADV_RANDOM)
    return mapped


def will_need(mapped: Tensor, rows: Tensor) -> None:
    """Prefetches rows of a mapped table without waiting for them.

    This is advice: if the kernel ignores it, rows are read at first access.

    Args:
        mapped: (R, W), contiguous, in a mapped file.
        rows: (U,) row indices.
    """
    row_bytes = mapped.shape[1] * mapped.itemsize
    starts = mapped.data_ptr() + rows * row_bytes
    before = starts % mmap.PAGESIZE  # advice applies to whole pages
    for start, skipped in zip(starts.tolist(), before.tolist(), strict=True):
        _madvise(start - skipped, row_bytes + skipped, mmap.MADV_WILLNEED)


def will_need_bytes(mapped: Tensor) -> None:
    """Prefetches a contiguous part of a mapped file without waiting for it; see `will_need`."""
    skipped = mapped.data_ptr() % mmap.PAGESIZE
    size = mapped.numel() * mapped.itemsize
    _madvise(mapped.data_ptr() - skipped, size + skipped, mmap.MADV_WILLNEED)
