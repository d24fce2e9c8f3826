"""What an item encoder declares of itself.

U items of a batch, E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from models.fusion import FUSIONS
from models.fusion.kind import Joins, load_fusion
from toolkit.towers import TowerSpec

Reads = Literal["numbers", "states", "pooled", "sources"]
ID_TOWER = "id"  # among the towers of a kind that takes it: a learned vector per item
_OF_TOWERS = {"states", "pooled", "sources"}


@runtime_checkable
class Gated(Protocol):
    """An item encoder whose gates can be read."""

    specs: tuple[TowerSpec, ...]

    def gates(self) -> dict[str, Tensor]:
        """By tower, (K,); empty where it has none."""
        ...


@dataclass(frozen=True)
class ItemKind:
    """An item encoder: `{name: features of U items}` -> (U, E).

    Args:
        encoder: class of the module. Its method `settings()` returns the arguments that build it again, as JSON can hold
            them: `items`, where it reads numbers, is the number of items; `towers`, where it reads states, are its
            towers (`vars(TowerSpec)` each); `fusion`, where it has one, is `models.fusion.kind.describe_fusion` of it.
        build: makes a fresh module: `build(settings, items=N, towers=SPECS, embedding_dim=E, fusion=MAKE,
            initial_std=STD_OR_NONE)`, where `fusion(parts=NAMES, embedding_dim=E)` makes the fusion that the run asks for;
            with `parts=NAMES` too, the run's towers and `id`, where it takes `id` as a tower; and with
            `encoders=SETTINGS` instead of `towers` where it reads sources.
        reads: what its features are, one or more: `numbers`, `{"id": (U,)}`; `states`, `{tower: (U, K, D)}`; `pooled`,
            the same with at least the last of the kept states; `sources`, `{tower: inputs of an encoder}`
            (`models.inputs.sources`), which the module's own `preparers` and `sources` say.
        knows_new_items: whether it encodes items that it was not trained on; never where `id` is among its towers.
        noun: what messages call a model with it, e.g. `an ID model`.
        about: from the names of its towers to a sentence for the model's card.
        settings: a dataclass of its settings; None if it has none.
        section: where these lie in a run's settings.
        joins: what its parts are that a fusion joins; None if it has no fusion.
        without_gates: why a model without gates has none, for the report.
        takes_id_tower: whether `id` may be named among its towers, and is then a learned vector per item.
        restore: builds the module from its `settings()` with `fusion=MAKE`, where the class itself does not.
    """

    encoder: type[nn.Module]
    build: Callable[..., nn.Module]
    reads: tuple[Reads, ...]
    knows_new_items: bool
    noun: str
    about: Callable[[Sequence[str]], str]
    settings: type | None = None
    section: str = "items"
    joins: Joins | None = None
    without_gates: str = "its item encoder has no gates"
    takes_id_tower: bool = False
    restore: Callable[..., nn.Module] | None = None

    @property
    def reads_towers(self) -> bool:
        """Whether it reads content, which is found in towers."""
        return bool(_OF_TOWERS & set(self.reads))

    @property
    def trains_encoders(self) -> bool:
        """Whether it runs encoders of its own over raw content."""
        return "sources" in self.reads

    def has_id_tower(self, towers: Sequence[str]) -> bool:
        """Whether a run with these towers has a learned vector per item beside its content."""
        return self.takes_id_tower and ID_TOWER in towers

    def reads_of(self, towers: Sequence[str]) -> tuple[Reads, ...]:
        """What the features of a run with these towers are."""
        return (*self.reads, "numbers") if self.has_id_tower(towers) else self.reads

    def load(self, settings: Mapping[str, Any]) -> nn.Module:
        """A module from what its `settings()` returned."""
        given = dict(settings)
        if "towers" in given:
            given["towers"] = [TowerSpec(**spec) for spec in given["towers"]]
        if "fusion" in given:
            given["fusion"] = load_fusion(given["fusion"], FUSIONS)
        return self.restore(given) if self.restore else self.encoder(**given)
