"""Arrays that may be larger than memory: above `IN_MEMORY_BYTES` they lie in a temporary file that is mapped.

The file has no name, so it disappears with the array, also if the process is killed. It lies in the folder that
`tempfile` chooses (TMPDIR). The kernel writes its pages to the disk and drops them when memory is short, so they are no
anonymous memory.
"""

import mmap
import os
import tempfile
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from toolkit.errors import UserError

IN_MEMORY_BYTES = 1 << 28
Value = TypeVar("Value", bound=np.generic)


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros, in a mapped file if it is large.

    Args:
        shape: its shape.
        dtype: its type.

    Raises:
        UserError: if the disk has too little space.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile() as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            raise _no_space(size, error) from None
        return _mapped(file, size, dtype).reshape(shape)


class Collected(Generic[Value]):
    """Collects arrays of one type, and joins them.

    Args:
        dtype: type of the values.
    """

    def __init__(self, dtype: type[Value]) -> None:
        self._dtype = np.dtype(dtype)
        self._parts: list[NDArray[Value]] = []
        self._waiting_bytes = 0
        self._file: BinaryIO | None = None

    def add(self, values: NDArray[Value]) -> None:
        """Adds values. They are copied.

        Raises:
            UserError: if the disk has too little space.
        """
        self._parts.append(np.array(values, dtype=self._dtype))
        self._waiting_bytes += self._parts[-1].nbytes
        if self._waiting_bytes > IN_MEMORY_BYTES:
            self._write()

    def joined(self) -> NDArray[Value]:
        """All values in the order in which they were added, (V,). The collection is empty afterwards.

        Raises:
            UserError: if the disk has too little space.
        """
        parts, file = self._parts, self._file
        if file is None:
            self._parts, self._waiting_bytes = [], 0
            return np.concatenate([np.zeros(0, dtype=self._dtype), *parts])
        self._write()
        self._file = None
        with file:
            file.flush()
            return _mapped(file, os.fstat(file.fileno()).st_size, self._dtype)

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `joined` closes it
        try:
            for part in self._parts:
                self._file.write(part.data)
        except OSError as error:
            raise _no_space(self._waiting_bytes, error) from None
        self._parts, self._waiting_bytes = [], 0


def _reserve(file: int, size: int) -> None:
    """Reserves space for a file: on a full disk, a write into a hole of a mapped file would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:  # macOS
        os.truncate(file, size)


def _mapped(file: BinaryIO, size: int, dtype: DTypeLike) -> NDArray[Any]:
    """The content of a file, which stays mapped after the file is closed."""
    return np.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype)


def _no_space(size: int, error: OSError) -> UserError:
    return UserError(
        f"{tempfile.gettempdir()}: too little space for a temporary array of {size / 2**20:,.0f} MiB ({error.strerror}); "
        "free space, or set TMPDIR to a folder on a larger disk, and run the same command again"
    )
