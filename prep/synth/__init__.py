"""Writes a synthetic dump in MicroLens' own layout, for tests, tutorials and a first run without downloads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prep.synth.dump import write_dump

__all__ = ["write_dump"]


def __getattr__(name: str) -> Any:  # imported on first use: the command line reads only settings
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prep.synth.dump import write_dump

    return write_dump
