"""Names of a network's parts: each part that belongs to a tower is named after it."""

from collections.abc import Iterable

from torch import nn

_TAKEN = nn.ModuleDict()  # whose own attributes cannot be names of its modules


def part_name(tower: str) -> str:
    """A tower's name as a key of `nn.ModuleDict`, which refuses dots and the names of its own attributes.

    Other names stay as they are. What is refused is percent-encoded, so that two towers never share a key.

    >>> part_name("image_caption"), part_name("clip.large"), part_name("50%"), part_name("values")
    ('image_caption', 'clip%2Elarge', '50%25', '%76alues')
    """
    if hasattr(_TAKEN, tower):
        return f"%{ord(tower[0]):02X}{tower[1:]}"
    return tower.replace("%", "%25").replace(".", "%2E")


def by_tower(names: Iterable[str], modules: Iterable[nn.Module]) -> nn.ModuleDict:
    """Modules under the names of their towers, in this order."""
    return nn.ModuleDict(
        {part_name(name): module for name, module in zip(names, modules, strict=True)}
    )
