"""The declaration of an item encoder.

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
    """An item encoder with readable gates."""

    specs: tuple[TowerSpec, ...]

    def gates(self) -> dict[str, Tensor]:
        """Gates by tower, (K,) each; empty if it has none."""
        ...


@dataclass(frozen=True)
class ItemKind:
    """An item encoder: `{name: features of U items}` -> (U, E).

    Args:
        encoder: class of the module. Its method `settings()` returns the arguments that rebuild it, as a JSON object. If
            it reads numbers, `items` is the number of items. If it reads states, `towers` is a list of `vars(TowerSpec)`.
            If it has a fusion, `fusion` is its `models.fusion.kind.describe_fusion`.
        build: builds a new module: `build(settings, items=N, towers=SPECS, embedding_dim=E, fusion=MAKE,
            initial_std=STD_OR_NONE)`, where `fusion(parts=NAMES, embedding_dim=E)` builds the fusion of the run. If it
            takes `id` as a tower, `parts=NAMES` are the run's towers with `id`. If it reads sources, `encoders=SETTINGS`
            replaces `towers`.
        reads: its features, one or more of `numbers`, `{"id": (U,)}`; `states`, `{tower: (U, K, D)}`; `pooled`, the same
            with at least the last of the kept states; and `sources`, `{tower: inputs of an encoder}`
            (`models.inputs.sources`), as the module's `preparers` and `sources` declare.
        knows_new_items: whether it can encode items that it was not trained on; never with `id` among its towers.
        noun: name of such a model in messages, such as `an ID model`.
        about: returns a sentence for the model card; its argument is the list of tower names.
        settings: dataclass of its settings; None if it has none.
        section: key of these settings in a run's config.
        joins: what its fusion can join: `vectors`, `tokens` or both; empty if it has no fusion.
        without_gates: for the report, why a model has no gates.
        takes_id_tower: whether `id`, a learned vector per item, can be one of its towers.
        restore: builds the module from its `settings()` with `fusion=MAKE`, if the class itself does not.
    """

    encoder: type[nn.Module]
    build: Callable[..., nn.Module]
    reads: tuple[Reads, ...]
    knows_new_items: bool
    noun: str
    about: Callable[[Sequence[str]], str]
    settings: type | None = None
    section: str = "items"
    joins: tuple[Joins, ...] = ()
    without_gates: str = "its item encoder has no gates"
    takes_id_tower: bool = False
    restore: Callable[..., nn.Module] | None = None

    @property
    def module(self) -> type[nn.Module]:
        """The class of the module."""
        return self.encoder

    @property
    def reads_towers(self) -> bool:
        """Whether it reads content, from towers."""
        return bool(_OF_TOWERS & set(self.reads))

    @property
    def trains_encoders(self) -> bool:
        """Whether it runs its own encoders over raw content."""
        return "sources" in self.reads

    def has_id_tower(self, towers: Sequence[str]) -> bool:
        """Whether a run with these towers has a learned vector per item beside the content."""
        return self.takes_id_tower and ID_TOWER in towers

    def reads_of(self, towers: Sequence[str]) -> tuple[Reads, ...]:
        """The features of a run with these towers."""
        return (*self.reads, "numbers") if self.has_id_tower(towers) else self.reads

    def describe(self, module: nn.Module) -> dict[str, Any]:
        """What `load` needs to rebuild a module, as a JSON object."""
        settings: dict[str, Any] = module.settings()  # type: ignore[operator]
        return settings

    def load(self, settings: Mapping[str, Any]) -> nn.Module:
        """Rebuilds a module from the result of `describe`."""
        arguments = dict(settings)
        if "towers" in arguments:
            arguments["towers"] = [TowerSpec(**spec) for spec in arguments["towers"]]
        if "fusion" in arguments:
            arguments["fusion"] = load_fusion(arguments["fusion"], FUSIONS)
        return self.restore(arguments) if self.restore else self.encoder(**arguments)
