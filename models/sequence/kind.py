"""What a sequence encoder declares of itself.

B sequences, L positions, E embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Protocol

from torch import nn

from toolkit.errors import UserError


class SequenceSettings(Protocol):
    """Settings of a sequence encoder: a dataclass; every field but `kind` is an argument of the module."""

    kind: str
    max_len: int


@dataclass(frozen=True)
class SequenceKind:
    """A sequence encoder: (B, L, E) item embeddings, (B, L) true where there is an item -> (B, L, E) states.

    Args:
        settings: a dataclass of its settings. Its fields are the keys of `--sequence.`: `kind`, whose default is the
            name under which the encoder is registered; `max_len`, inputs per sequence; and the module's own arguments.
        encoder: class of the module, built as `encoder(embedding_dim=E, **settings)` without `kind`, and with
            `initial_std` where `train.initial_std` is set. Its method `settings()` returns these arguments, as JSON can
            hold them.
        about: from the settings to a phrase for the model's card.
    """

    settings: type
    encoder: type[nn.Module]
    about: Callable[[Any], str]

    def __post_init__(self) -> None:
        missing = {"kind", "max_len"} - {f.name for f in fields(self.settings)}
        if missing:
            raise ValueError(
                f"{self.settings.__name__} lacks {sorted(missing)}, which the settings of every sequence encoder have"
            )

    def build(
        self, settings: Any, *, embedding_dim: int, initial_std: float | None = None
    ) -> nn.Module:
        """A fresh encoder.

        Args:
            settings: an instance of this kind's `settings`.
            embedding_dim: E.
            initial_std: standard deviation of the initial weights; None leaves it to the encoder.

        Raises:
            UserError: if `initial_std` is set and the encoder has no such argument.
        """
        values = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "kind"}
        if initial_std is not None:
            if "initial_std" not in signature(self.encoder).parameters:
                raise UserError(
                    f"train.initial_std is {initial_std}, and sequence.kind {settings.kind} has no such setting; leave "
                    "it out"
                )
            values["initial_std"] = initial_std
        return self.encoder(embedding_dim=embedding_dim, **values)

    def load(self, settings: Mapping[str, Any]) -> nn.Module:
        """An encoder from what its `settings()` returned."""
        return self.encoder(**settings)
