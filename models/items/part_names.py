"""Names of the parts of a network: a part of a tower is named after the tower."""

from collections.abc import Iterable
from urllib.parse import unquote

from torch import nn

_RESERVED = nn.ModuleDict()  # the names of its attributes cannot be keys


def part_name(tower: str) -> str:
    """A tower's name as a key of `nn.ModuleDict`, which does not allow dots and the names of its own attributes.

    These are percent-encoded, so that two towers never share a key. Other names are unchanged.

    >>> part_name("image_caption"), part_name("clip.large"), part_name("50%"), part_name("values")
    ('image_caption', 'clip%2Elarge', '50%25', '%76alues')
    """
    if hasattr(_RESERVED, tower):
        return f"%{ord(tower[0]):02X}{tower[1:]}"
    return tower.replace("%", "%25").replace(".", "%2E")


def tower_of(part: str) -> str:
    """The tower that a part is named after: the inverse of `part_name`.

    >>> [tower_of(part_name(name)) for name in ("clip.large", "50%", "values")]
    ['clip.large', '50%', 'values']
    """
    return unquote(part)


def by_tower(names: Iterable[str], modules: Iterable[nn.Module]) -> nn.ModuleDict:
    """Modules by tower name, in this order."""
    return nn.ModuleDict(
        {part_name(name): module for name, module in zip(names, modules, strict=True)}
    )
