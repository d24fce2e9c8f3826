"""The lineage of a run: the model that its initial weights come from, as environment.json and the card show it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any

Shapes = dict[str, list[int]]


@dataclass(frozen=True)
class Refused:
    """A part that could not move.

    Args:
        reason: why, as a clause.
        shapes: by tensor, its shape in the source and in the run where the two differ; null where it is absent.
    """

    reason: str
    shapes: dict[str, list[list[int] | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """Where the initial weights of a run come from.

    Args:
        source: name of the source, as the user typed it.
        weights_sha256: digest of its weights.
        parts: the parts that were asked for.
        taken: by part, the shapes of the tensors that moved.
        fresh: by part, the shapes of the tensors that begin with new weights.
        refused: by part that was asked for and begins with new weights, why.
        own_base: towers whose base encoders began with the source's weights, and are saved with the model.
        lineage: of the source itself; null if it began with new weights, or does not record it.
    """

    source: str
    weights_sha256: str
    parts: list[str]
    taken: dict[str, Shapes]
    fresh: dict[str, Shapes]
    refused: dict[str, Refused]
    own_base: list[str] = field(default_factory=list)
    lineage: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Lineage":
        """From the JSON object that `record` returned."""
        known = {name.name: record[name.name] for name in fields(cls) if name.name in record}
        refused = {name: Refused(**one) for name, one in known.get("refused", {}).items()}
        return cls(**{**known, "refused": refused})

    def ancestors(self) -> Iterator[tuple[str, str]]:
        """Name and SHA-256 of the sources before the source, the nearest first."""
        before = self.lineage
        while before:
            yield Path(before["source"]).name, before["weights_sha256"]
            before = before.get("lineage")

    def lines(self) -> Iterator[str]:
        """What was taken, begins fresh and was refused, a line each."""
        yield f"initial weights: {self.source} (SHA-256 {self.weights_sha256[:12]}…)"
        yield f"  taken: {counted(self.taken)}"
        fresh = {name: shapes for name, shapes in self.fresh.items() if name not in self.refused}
        if fresh:
            yield f"  begins fresh: {counted(fresh)}"
        for name, refused in self.refused.items():
            yield f"  refused, begins fresh: {name}: {refused.reason}"


def counted(parts: Mapping[str, Shapes]) -> str:
    """Parts with the number of their values, as text."""
    counts = {name: sum(map(prod, shapes.values())) for name, shapes in parts.items()}
    return ", ".join(f"{name} ({count:,} values)" for name, count in counts.items()) or "nothing"
