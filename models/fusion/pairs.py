"""The two parts of a fusion in which one part conditions the other."""

from collections.abc import Sequence


def condition_and_other(parts: Sequence[str], condition: str) -> tuple[str, str]:
    """The names of the part that conditions and of the part that is conditioned.

    Args:
        parts: names of the parts.
        condition: name of the part that conditions; empty for the first.

    Raises:
        ValueError: if there are not two parts, or `condition` is none of them.
    """
    refuse_other_than_two(parts)
    condition = condition or parts[0]
    if condition not in parts:
        raise ValueError(f"condition is {condition!r}; the parts are {list(parts)}")
    (other,) = set(parts) - {condition}
    return condition, other


def refuse_other_than_two(parts: Sequence[str]) -> None:
    """Refuses another number of parts than two.

    Raises:
        ValueError: naming the parts.
    """
    if len(parts) != 2:
        raise ValueError(
            f"joins exactly two parts, and the item has {list(parts)}; choose two towers (with the side network also "
            "--side.parts intra), or a fusion of any number of parts, such as concat"
        )
