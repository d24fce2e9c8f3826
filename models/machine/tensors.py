"""The tensors in a batch, however it holds them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def tensors_of(thing: Any) -> Iterator[Tensor]:
    """Those in a tensor, a mapping or a dataclass, and in what they hold, always in one order."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from tensors_of(value)
    elif is_dataclass(thing):
        for field in fields(thing):
            yield from tensors_of(getattr(thing, field.name))
