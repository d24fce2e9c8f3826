"""Towers: the content fields of an item that a recommender reads, and the kept layers of their encoders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from toolkit.errors import UserError

Modality = Literal["text", "image"]

PICTURES = ("cover", "frames")  # sources for image encoders; all others are text
CONCAT = "concat:"  # prefix of a source that joins several texts
IMPORTED = "file:"  # prefix of the encoder of a tower that was imported from a feature file


@dataclass(frozen=True, kw_only=False)
class TowerSpec:
    """One content field of an item with the shape of its hidden states.

    Args:
        name: name of the tower, such as `title` or `cover`.
        layers: K, hidden states per item, including the embedding output.
        width: D, values per hidden state.
        modality: the published tower with the same learning-rate groups; it determines only the groups of head and
            gates.
        widths: width of each kept state if some are narrower than D, as the stages of a hierarchical image encoder are.
            Narrower states are padded with zeros.
    """

    name: str
    layers: int
    width: int
    modality: Modality = "text"
    widths: tuple[int, ...] | None = None

    @classmethod
    def of_metadata(cls, name: str, metadata: Mapping[str, str]) -> "TowerSpec":
        """The tower that the metadata of `states/NAME` describe.

        Raises:
            ValueError: if a number in the metadata cannot be read, or is out of range.
        """
        layers, width = int(metadata["layers"]), int(metadata["width"])
        widths = metadata.get("widths")
        narrow = tuple(map(int, widths.split(","))) if widths else None
        return cls(name, layers, width, metadata["modality"], narrow)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width < 1:
            raise ValueError(
                f"tower {self.name!r}: layers and width must be at least 1, got {self.layers} and {self.width}"
            )
        if self.modality not in ("text", "image"):
            raise ValueError(
                f"tower {self.name!r}: modality {self.modality!r} is neither text nor image"
            )
        if self.widths is None:
            return
        object.__setattr__(self, "widths", tuple(self.widths))  # a list when read from JSON
        if len(self.widths) != self.layers or min(self.widths) < 1 or max(self.widths) > self.width:
            raise ValueError(
                f"tower {self.name!r}: widths must be {self.layers} numbers from 1 to {self.width}, "
                f"got {list(self.widths)}"
            )


def source_fields(source: str) -> list[str]:
    """The fields of an item that a source reads.

    >>> source_fields("concat:title+image_caption")
    ['title', 'image_caption']
    >>> source_fields("cover")
    ['cover']

    Raises:
        UserError: if it joins fewer than two fields, or a field that is not text.
    """
    if not source.startswith(CONCAT):
        return [source]
    fields = source.removeprefix(CONCAT).split("+")
    if len(fields) < 2 or not all(fields):
        raise UserError(
            f"source {source!r} must join two or more texts; write it like {CONCAT}title+image_caption"
        )
    pictures = [field for field in fields if field in PICTURES]
    if pictures:
        raise UserError(
            f"source {source!r} joins texts, but {pictures[0]!r} is not text; configure a separate tower for it"
        )
    return fields


def modality_of(source: str) -> Modality:
    """The modality of a source: `image` for covers and frames, `text` for all others."""
    return "image" if source in PICTURES else "text"


def select_layers(selection: str | Sequence[int], depth: int) -> list[int]:
    """The kept layers of an encoder with layers 0..depth-1, ascending.

    The embedding output is always kept before them and is not listed.

    Args:
        selection: `all`; `every-2` for every second layer from the top, as in IISAN; `group-K` for the group
            layer-dropping of IISAN-Versa (arXiv 2411.02992), which keeps L-1-s·j for j = 0..K-1 with stride
            s = (L-2)//(K-1); or explicit layer numbers.
        depth: L, the number of layers.

    >>> select_layers("group-6", 32)
    [1, 7, 13, 19, 25, 31]

    Raises:
        UserError: if the selection is invalid or does not fit the depth.
    """
    if not isinstance(selection, str):
        kept = sorted(set(selection))
        if not kept or kept[0] < 0 or kept[-1] >= depth:
            raise UserError(f"layers {list(selection)}: the encoder has layers 0..{depth - 1}")
        return kept
    if selection == "all":
        return list(range(depth))
    kind, _, number = selection.partition("-")
    counted = number.isascii() and number.isdigit() and 0 < len(number.lstrip("0")) < 10
    if not counted or kind not in ("every", "group"):
        raise UserError(
            f"layers {selection!r} is not a valid selection; use all, every-N, group-K (N and K from 1) or a list such "
            "as [1,3,5]"
        )
    count = int(number)
    if kind == "every":
        return sorted(range(depth - 1, -1, -count))
    stride = (depth - 2) // (count - 1) if count > 1 else 1
    if stride < 1:
        raise UserError(f"layers {selection!r}: an encoder of {depth} layers has no {count} groups")
    return sorted(depth - 1 - stride * j for j in range(count))
