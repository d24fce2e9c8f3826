"""Applies an adaptation method to an encoder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from models.adaptation.kind import AdaptationKind, Target
from models.adaptation.modes import EvaluationMode
from toolkit.errors import UserError

MethodSetting = bool | int | float | str | list[int] | list[str]
_TOP = re.compile(r"top-(\d+)")


@dataclass(frozen=True)
class Adapted:
    """What a method did to an encoder.

    Args:
        method: its name.
        settings: of the method.
        groups: the learning-rate groups that trainable parameters lie in, with their prefix.
        trainable: names of the parameters that train, in the encoder.
    """

    method: str
    settings: Any
    groups: tuple[str, ...]
    trainable: tuple[str, ...]


def find_adaptation(
    method: str, kinds: Mapping[str, AdaptationKind]
) -> tuple[AdaptationKind, dict[str, Any]]:
    """A method's declaration, and the settings that its name holds: `top-2` is the kind `top-K` with 2 layers.

    Raises:
        UserError: if there is no such method.
    """
    if top := _TOP.fullmatch(method):
        return kinds["top-K"], {"layers": int(top[1])}
    if method not in kinds or method == "top-K":
        known = [name if name != "top-K" else "top-1, top-2, …" for name in kinds]
        raise UserError(f"adapt {method!r} is unknown; expected one of {', '.join(known)}")
    return kinds[method], {}


def settings_of(
    method: str,
    chosen: Mapping[str, MethodSetting] | None,
    *,
    kinds: Mapping[str, AdaptationKind],
) -> Any:
    """See `models.adaptation.method_settings`."""
    kind, named = find_adaptation(method, kinds)
    known = [field.name for field in fields(kind.settings)]
    unknown = sorted(set(chosen or {}) - set(known) | set(chosen or {}) & set(named))
    if unknown:
        raise UserError(
            f"adapt_settings names {', '.join(unknown)}, and adapt {method} has "
            f"{', '.join(name for name in known if name not in named) or 'no settings'}"
        )
    hints = get_type_hints(kind.settings)
    for name, value in (chosen or {}).items():
        _refuse_other_type(method, name, value, hints[name])
    return kind.settings(**named, **(chosen or {}))


def _refuse_other_type(method: str, name: str, value: Any, hint: Any) -> None:
    """Refuses a value that a setting cannot have."""
    if get_origin(hint) is Literal:
        fits, expected = value in get_args(hint), f"one of {', '.join(get_args(hint))}"
    else:
        kind = get_origin(hint) or hint
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = (isinstance(value, kind) and (whole or kind is not int)) or (kind is float and whole)
        expected = {"bool": "true or false", "int": "a whole number", "float": "a number"}.get(
            kind.__name__, f"a {kind.__name__}"
        )
    if not fits:
        raise UserError(
            f"adapt_settings: {name} of adapt {method} is {value!r}; expected {expected}"
        )


def apply_adaptation(
    encoder: nn.Module,
    method: str,
    settings: Any = None,
    *,
    prefix: str = "",
    kinds: Mapping[str, AdaptationKind],
) -> Adapted:
    """See `models.adaptation.adapt`."""
    kind, named = find_adaptation(method, kinds)
    if (before := getattr(encoder, "adapted", None)) is not None:
        raise UserError(
            f"adapt {method}: the encoder is adapted already, by {before.method}; an encoder takes one method, so load it "
            "again to apply another"
        )
    if settings is None:
        settings = kind.settings(**named)
    target = Target(encoder, prefix)
    refuse_unfit(target, method, kinds)
    encoder.requires_grad_(False)
    kind.apply(target, settings)
    encoder.register_forward_pre_hook(EvaluationMode(encoder))
    trainable = tuple(name for name, x in encoder.named_parameters() if x.requires_grad)
    adapted = Adapted(method, settings, tuple(map(target.group, kind.groups)), trainable)
    encoder.adapted = adapted  # type: ignore[assignment]
    return adapted


def refuse_unfit(target: Target, method: str, kinds: Mapping[str, AdaptationKind]) -> None:
    """Refuses a method that an encoder cannot take, with the names of those that it can.

    Raises:
        UserError: as said.
    """
    kind, _ = find_adaptation(method, kinds)
    if kind.takes(target):
        return
    lacking = [need for need in kind.needs if not target.has(need)]
    can = [name for name, other in kinds.items() if other.takes(target)]
    spec = getattr(target.encoder, "spec", None)
    name = (
        f"encoder {spec.encoder!r} ({type(target.model).__name__})"
        if spec
        else type(target.model).__name__
    )
    raise UserError(
        f"adapt {method} needs {' and '.join(lacking)}, and {name} has none that are known; take one of {', '.join(can)}"
    )


def merge_adaptation(
    encoder: nn.Module, method: str, *, kinds: Mapping[str, AdaptationKind]
) -> None:
    """See `models.adaptation.merge`."""
    kind, _ = find_adaptation(method, kinds)
    if kind.merge is None:
        can = ", ".join(name for name, other in kinds.items() if other.merge is not None)
        raise UserError(
            f"adapt {method} adds modules that an encoder's weights cannot hold; those of {can} can be merged: train with "
            "one of these, or use the run itself (models.load, models recommend)"
        )
    kind.merge(Target(encoder).model)


def follow_weights(encoder: nn.Module, method: str, *, kinds: Mapping[str, AdaptationKind]) -> None:
    """See `models.adaptation.follow`."""
    kind, _ = find_adaptation(method, kinds)
    if kind.follow is not None:
        kind.follow(Target(encoder).model)
