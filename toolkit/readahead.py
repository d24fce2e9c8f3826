"""Tells the kernel which rows of a mapped file are about to be read.

Left to itself it reads at every fault what lies around, 128 KiB as a rule, for a row of a tenth of
that, and one after the other. Told before, it reads the rows alone, many at a time: from a cold
cache, random rows come fifteen times as fast and the disk reads a fiftieth (benchmarks/store.py).
"""

import ctypes
import mmap

from torch import Tensor

# PyDLL keeps the interpreter's lock: a call takes a microsecond, to get the lock back from a training
# thread may take milliseconds.
_madvise = ctypes.PyDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


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
