"""Files mapped into memory, of which only a few rows may ever be read.

Left to itself the kernel reads at every fault what lies around: for a row of 10 KB 128 KiB, on some
machines 8 MiB, and one fault after the other. Told before, it reads the rows alone, many at a time:
from a cold cache random rows come fifteen times as fast (benchmarks/store.py).
"""

import ctypes
import mmap
from pathlib import Path

import torch
from torch import Tensor

# PyDLL keeps the interpreter's lock: a call takes a microsecond, to get the lock back from a training
# thread may take milliseconds.
_madvise = ctypes.PyDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def map_bytes(path: Path) -> Tensor:
    """The bytes of a file, (size,) uint8, mapped: none is read before it is touched.

    What is written to them stays in this process, and the file as it is. `torch.from_numpy` would
    warn of a map that cannot be written to.

    Raises:
        OSError: if there is no such file.
        RuntimeError: if it cannot be mapped: an empty one cannot.
    """
    size = path.stat().st_size
    pages = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    mapped: Tensor = torch.empty(0, dtype=torch.uint8).set_(pages)  # type: ignore[arg-type]
    _madvise(mapped.data_ptr(), size, mmap.MADV_RANDOM)
    return mapped


def will_need(mapped: Tensor, rows: Tensor) -> None:
    """Starts reading some rows of a mapped table, and does not wait for them.

    It is advice: where the kernel does not take it, the rows are read when they are touched.

    Args:
        mapped: (R, W), contiguous, in a mapped file.
        rows: (U,) of it.
    """
    row_bytes = mapped.shape[1] * mapped.itemsize
    starts = mapped.data_ptr() + rows * row_bytes
    before = starts % mmap.PAGESIZE  # advice is for whole pages
    for start, skipped in zip(starts.tolist(), before.tolist(), strict=True):
        _madvise(start - skipped, row_bytes + skipped, mmap.MADV_WILLNEED)
