"""Writes a synthetic dump in MicroLens' own layout, for tests, tutorials and a first run without downloads."""

from prep.synth.dump import write_dump

__all__ = ["write_dump"]
