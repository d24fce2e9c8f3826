"""What a fusion declares of itself, and how it is built, saved and loaded.

U items, P parts, E embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, Protocol

from torch import nn

Joins = Literal["vectors", "tokens"]
MakeFusion = Callable[..., nn.Module]  # (parts=names, embedding_dim=E) -> the fusion


class FusionSettings(Protocol):
    """Settings of a fusion: a dataclass with `kind`; every other field is an argument of the module."""

    kind: str


@dataclass(frozen=True)
class FusionKind:
    """A fusion: `{part: (U, E)}` -> (U, E).

    Args:
        settings: a dataclass of its settings. Its fields are the keys of `--fusion.`: `kind`, whose default is the name
            under which the fusion is registered, and the module's own arguments.
        fusion: class of the module, built as `fusion(parts=NAMES, embedding_dim=E, **settings)`. Its method `settings()`
            returns the settings without `kind`, as JSON can hold them.
        joins: `vectors`, (U, E) of each part; or `tokens`, (U, S, E) of each part. An item encoder whose parts are
            pooled vectors refuses a fusion that joins tokens.
    """

    settings: type
    fusion: type[nn.Module]
    joins: Joins = "vectors"

    def make(self, settings: Any) -> MakeFusion:
        """What builds the fusion once its parts are known.

        Args:
            settings: an instance of this kind's `settings`.
        """
        return self.load({f.name: getattr(settings, f.name) for f in fields(settings)})

    def load(self, settings: Mapping[str, Any]) -> MakeFusion:
        """The same from what was saved: `kind` and the module's own settings."""
        return partial(self.fusion, **{k: v for k, v in settings.items() if k != "kind"})


def describe_fusion(fusion: nn.Module, kinds: Mapping[str, FusionKind]) -> dict[str, Any]:
    """What `load_fusion` needs to build a fusion again.

    Raises:
        ValueError: if its class is not registered.
    """
    for name, kind in kinds.items():
        if type(fusion) is kind.fusion:
            return {"kind": name, **fusion.settings()}  # type: ignore[operator]
    raise ValueError(
        f"fusion {type(fusion).__name__} cannot be saved: it is not registered; known kinds: {list(kinds)}"
    )


def load_fusion(settings: Mapping[str, Any], kinds: Mapping[str, FusionKind]) -> MakeFusion:
    """What builds a saved fusion.

    Raises:
        ValueError: if its kind is not registered.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(
            f"fusion kind {kind!r} is not registered; known: {list(kinds)}; import the module that registers it"
        )
    return kinds[kind].load(settings)
