"""The declaration of a fusion, and functions that build, save and load it.

U items, P parts, S tokens, E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, Protocol

from torch import nn

from toolkit.errors import UserError

Joins = Literal["vectors", "tokens"]
MakeFusion = Callable[..., nn.Module]  # (parts=NAMES, embedding_dim=E) -> fusion


class FusionSettings(Protocol):
    """Settings of a fusion: a dataclass. Every field except `kind` is an argument of the module."""

    kind: str


@dataclass(frozen=True)
class FusionKind:
    """A fusion of the parts of an item: `{part: (U, E)}` -> (U, E).

    Args:
        settings: dataclass of its settings. Its fields are the keys of `--fusion.`: `kind`, whose default is the name of
            the fusion in `FUSIONS`, and the module's own arguments.
        fusion: class of the module, built as `fusion(parts=NAMES, embedding_dim=E, **settings)`. Its method `settings()`
            returns the settings without `kind` as a JSON object.
        joins: `vectors`, (U, E) per part; or `tokens`, `toolkit.backbones.token_states.TokenStates` with states (U, S, E)
            per part. An item encoder whose parts are pooled vectors refuses a fusion that joins tokens.
        least: minimum number of towers.
    """

    settings: type
    fusion: type[nn.Module]
    joins: Joins = "vectors"
    least: int = 1

    def make(self, settings: Any) -> MakeFusion:
        """Returns a function that builds the fusion from the names of its parts.

        It raises a UserError if the fusion refuses its parts or a setting.

        Args:
            settings: an instance of this kind's `settings`.
        """
        values = {f.name: getattr(settings, f.name) for f in fields(settings)}
        return partial(_refusing, self.load(values), settings.kind)

    def load(self, settings: Mapping[str, Any]) -> MakeFusion:
        """Like `make`, but from saved settings: `kind` and the module's own settings."""
        return partial(self.fusion, **{k: v for k, v in settings.items() if k != "kind"})


def joins_of(fusion: nn.Module | None, kinds: Mapping[str, FusionKind]) -> Joins:
    """What a fusion joins: vectors if its class is not registered, or there is no fusion."""
    found = (kind.joins for kind in kinds.values() if type(fusion) is kind.fusion)
    return next(found, "vectors")


def _refusing(
    make: MakeFusion, kind: str, *, parts: Sequence[str], embedding_dim: int
) -> nn.Module:
    try:
        return make(parts=parts, embedding_dim=embedding_dim)
    except ValueError as error:
        raise UserError(f"fusion.kind {kind}: {error}") from None


def differing(settings: type, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen settings that differ from the defaults of a dataclass of settings."""
    defaults = settings()
    return {key: value for key, value in chosen.items() if value != getattr(defaults, key)}


def describe_fusion(fusion: nn.Module, kinds: Mapping[str, FusionKind]) -> dict[str, Any]:
    """The settings from which `load_fusion` rebuilds a fusion.

    Raises:
        ValueError: if its class is not registered.
    """
    for name, kind in kinds.items():
        if type(fusion) is kind.fusion:
            return {"kind": name, **fusion.settings()}  # type: ignore[operator]
    raise ValueError(
        f"fusion {type(fusion).__name__} cannot be saved, because it is not registered; known kinds: {list(kinds)}"
    )


def load_fusion(settings: Mapping[str, Any], kinds: Mapping[str, FusionKind]) -> MakeFusion:
    """Returns a function that rebuilds a saved fusion from the names of its parts.

    Raises:
        ValueError: if its kind is not registered.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(
            f"fusion kind {kind!r} is not registered; known: {list(kinds)}; import the module that registers it"
        )
    return kinds[kind].load(settings)
