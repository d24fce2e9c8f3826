"""The declaration of a sequence encoder.

B sequences, L positions, E embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Protocol

from torch import nn

from models.adaptation import ADAPTATIONS, MethodSetting, adapt, find_adaptation, method_settings
from toolkit.errors import UserError

_ADAPTATION = ("adapt", "adapt_settings")  # keys of settings that are not the module's arguments


class SequenceSettings(Protocol):
    """Settings of a sequence encoder: a dataclass. Every field except `kind` is an argument of the module."""

    kind: str
    max_len: int


@dataclass(frozen=True)
class SequenceKind:
    """A sequence encoder: (B, L, E) item embeddings, (B, L) false at padding -> (B, L, E) states.

    An encoder that declares `takes_times = True` has a keyword argument `times`, (B, L) milliseconds since 1970.

    Args:
        settings: dataclass of its settings. Its fields are the keys of `--sequence.`: `kind`, whose default is the name
            of the encoder in `SEQUENCES`; `max_len`, inputs per sequence; and the module's own arguments. If the encoder
            can be adapted (`models.adaptation`), also `adapt`, a method, empty for none, and `adapt_settings`, its
            settings by name.
        encoder: class of the module, built as `encoder(embedding_dim=E, **settings)` without `kind` and the
            adaptation, and with `initial_std` if `train.initial_std` is set. Its method `settings()` returns these arguments as a JSON object.
        about: returns a phrase for the model card; its argument is the settings.
    """

    settings: type
    encoder: type[nn.Module]
    about: Callable[[Any], str]

    @property
    def module(self) -> type[nn.Module]:
        """The class of the module."""
        return self.encoder

    @property
    def takes_times(self) -> bool:
        """Whether the encoder reads the times of the inputs, which it declares by `takes_times = True`."""
        return getattr(self.encoder, "takes_times", False)

    def __post_init__(self) -> None:
        missing = {"kind", "max_len"} - {f.name for f in fields(self.settings)}
        if missing:
            raise ValueError(
                f"{self.settings.__name__} lacks {sorted(missing)}; the settings of a sequence encoder require kind and "
                "max_len"
            )

    def build(
        self, settings: Any, *, embedding_dim: int, initial_std: float | None = None
    ) -> nn.Module:
        """Builds a new encoder.

        Args:
            settings: an instance of this kind's `settings`.
            embedding_dim: E.
            initial_std: standard deviation of the initial weights; None for the encoder's own initialisation.

        Raises:
            UserError: if `initial_std` is set and the encoder has no such argument, or if the encoder refuses a setting.
        """
        values = {f.name: getattr(settings, f.name) for f in fields(settings)}
        for key in ("kind", *_ADAPTATION):
            values.pop(key, None)
        if initial_std is not None:
            if "initial_std" not in signature(self.encoder).parameters:
                raise UserError(
                    f"train.initial_std is {initial_std}, but sequence.kind {settings.kind} has no such setting; leave "
                    "it out"
                )
            values["initial_std"] = initial_std
        try:
            return self.encoder(embedding_dim=embedding_dim, **values)
        except ValueError as error:
            raise UserError(f"sequence.kind {settings.kind}: {error}") from None

    def check(self, settings: Any) -> None:
        """Checks the name and the settings of the adaptation method.

        Raises:
            UserError: if the method is unknown, has no such setting, or settings are given without a method.
        """
        method, chosen = _adaptation(settings)
        try:
            if method:
                method_settings(method, chosen)
            elif chosen:
                raise UserError(
                    f"adapt_settings {chosen} needs a method; add --sequence.adapt METHOD"
                )
        except UserError as error:
            raise UserError(f"sequence: {error}") from None

    def adapt(self, encoder: nn.Module, settings: Any) -> None:
        """Applies the adaptation method of the settings, if they name one, to an encoder with its initial weights.

        What trains is in the learning-rate groups `sequence_encoder`, `sequence_adapter` and `sequence_norm`.

        Raises:
            UserError: if the encoder cannot take the method.
        """
        method, chosen = _adaptation(settings)
        if not method:
            return
        try:
            adapt(encoder, method, method_settings(method, chosen), prefix="sequence")
        except UserError as error:
            raise UserError(f"sequence: {error}") from None

    def describe(self, encoder: nn.Module) -> dict[str, Any]:
        """What `load` needs to rebuild an encoder, as a JSON object."""
        settings: dict[str, Any] = encoder.settings()  # type: ignore[operator]
        adapted = getattr(encoder, "adapted", None)
        if adapted is None:
            return settings
        _, named = find_adaptation(adapted.method, ADAPTATIONS)
        own = {key: value for key, value in vars(adapted.settings).items() if key not in named}
        return {**settings, "adapt": adapted.method, "adapt_settings": own}

    def load(self, settings: Mapping[str, Any]) -> nn.Module:
        """Rebuilds an encoder from the result of `describe`, adapted as it was."""
        arguments = {key: value for key, value in settings.items() if key not in _ADAPTATION}
        encoder = self.encoder(**arguments)
        self.adapt(encoder, settings)
        return encoder


def _adaptation(settings: Any) -> tuple[str, Mapping[str, MethodSetting]]:
    """The method and its settings, of a dataclass or a mapping; empty if they name none."""
    values = settings if isinstance(settings, Mapping) else vars(settings)
    method, chosen = (values.get(key) for key in _ADAPTATION)
    return method or "", chosen or {}
