"""Which encoder a tower trains, and how: settings, and what they come to for a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Protocol

from models.adaptation import MethodSetting, method_settings
from toolkit.arguments import refuse_below
from toolkit.backbones import EncoderSpec
from toolkit.backbones.spec import Pooling, Precision, Quantize
from toolkit.errors import UserError
from toolkit.sources import refuse_unknown
from toolkit.towers import IMPORTED, PICTURES

LAST = "group-1"  # the layers that are kept: the last one alone, beside the embedding output


@dataclass
class EncoderSettings:
    """The encoder of one tower. What is null is as prep stored the tower, or the encoder's own.

    Args:
        encoder: a folder, `package:NAME/FOLDER`, a hub name, or one of these after `open_clip:`; for a video network,
            `torchvision:NETWORK@FILE` or `pytorchvideo:NETWORK@FILE` (docs/guides/encoders.md).
        source: what it reads: title, the name of captions, concat:A+B, cover or frames. By default that of the stored
            tower, or the tower's own name.
        pooling: how tokens become one vector: cls, mean or last.
        revision: hub revision to pin.
        max_tokens: longer texts are cut there.
        lowercase: whether texts are lower-cased first.
        dtype: precision of the weights: float32 by default, whatever the states were stored in;
            train.mixed_precision is what saves time.
        quantize: 8bit or 4bit quantises weights that stay frozen.
        trust_remote_code: runs code that comes with the encoder; it counts only when typed.
        frame_count: how many frames a video encoder reads of a clip, where its weights do not depend on it.
        crop_px: height and width of the frames that a video network of torchvision or pytorchvideo reads.
        dropout: probability of all dropout in the encoder; null keeps the encoder's own.
        adapt: what of it trains (`--adapt`); null takes that of the run.
        adapt_settings: of that method, by name; where null, those of the run.
        from_layer: `stored` trains the top layers alone (`adapt top-K`), on the states of the tokens below them that prep
            stored (`--encode.TOWER.tokens L`, where K + L is the encoder's number of layers).
        shared: whether it is one set of weights with another tower's encoder of the same name and settings.
    """

    encoder: str | None = None
    source: str | None = None
    pooling: Pooling | None = None
    revision: str | None = None
    max_tokens: int | None = None
    lowercase: bool | None = None
    dtype: Precision | None = None
    quantize: Quantize | None = None
    trust_remote_code: bool = False
    frame_count: int | None = None
    crop_px: int | None = None
    dropout: float | None = None
    adapt: str | None = None
    adapt_settings: dict[str, MethodSetting] | None = None
    from_layer: Literal["stored"] | None = None
    shared: bool = True

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UserError(f"encoders: dropout is {self.dropout}; it must be in [0, 1)")
        least = dict.fromkeys(("max_tokens", "frame_count", "crop_px"), 1)
        refuse_below(least, vars(self), lead="encoders: ")

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that the settings describe; only their last state is kept.

        Raises:
            UserError: if no encoder is named.
        """
        known = {field.name for field in fields(EncoderSpec)} - {"layers"}
        named = {key: value for key, value in vars(self).items() if key in known}
        chosen = {key: value for key, value in named.items() if value is not None}
        return EncoderSpec(**chosen, layers=LAST)


class StoredTowers(Protocol):
    """What of a dataset says how towers were encoded (`toolkit.dataset.Dataset`)."""

    manifest: dict[str, Any]

    def towers(self) -> list[str]:
        """Names of the stored towers."""
        ...

    def states_metadata(self, tower: str) -> dict[str, str]:
        """Of the states of a tower."""
        ...

    def token_towers(self) -> list[str]:
        """Names of the towers whose token states are stored."""
        ...

    def caption_names(self) -> list[str]:
        """Names of the stored captions."""
        ...


def resolve_encoders(
    chosen: Mapping[str, EncoderSettings],
    towers: list[str],
    data: StoredTowers,
    *,
    adapt: str,
    adapt_settings: Mapping[str, MethodSetting] | None = None,
) -> dict[str, EncoderSettings]:
    """The settings of each tower's encoder with nothing left to defaults of prep or of the run.

    Args:
        chosen: by tower, as the run has them.
        towers: of the run's content.
        data: the dataset.
        adapt: of the towers that name no method.
        adapt_settings: of the towers that name neither a method nor its settings.

    Raises:
        UserError: if settings name no tower of the run, or a tower has no encoder or no source.
    """
    unknown = sorted(set(chosen) - set(towers))
    if unknown:
        raise UserError(f"encoders names {unknown}; the run's towers are {towers}")
    resolved = {}
    for name in towers:
        one = chosen.get(name, EncoderSettings())
        own = one.adapt_settings
        if own is None:
            own = dict(adapt_settings or {}) if one.adapt in (None, adapt) else {}
        method = one.adapt or adapt
        method_settings(method, own)
        if one.from_layer and name not in data.token_towers():
            raise UserError(
                f"encoders.{name}.from_layer stored: no token states of tower {name!r} are stored (stored: "
                f"{', '.join(data.token_towers()) or 'none'}); store them with prep encode and --encode.{name}.tokens LAYER"
            )
        resolved[name] = replace(_with_defaults(name, one, data), adapt=method, adapt_settings=own)
    return resolved


def _with_defaults(name: str, chosen: EncoderSettings, data: StoredTowers) -> EncoderSettings:
    stored = _stored(name, data)
    same = stored is not None and chosen.encoder in (None, stored.encoder)
    if stored is None and chosen.encoder is None:
        raise UserError(
            f"encoders.{name}.encoder: not set, and tower {name!r} is not stored, so nothing says which encoder it "
            f"has; add --encoders.{name}.encoder NAME (stored towers: {', '.join(data.towers()) or 'none'})"
        )
    before = stored if same and stored is not None else EncoderSpec()
    source = chosen.source or (stored.source if stored else _own_source(name, data))
    refuse_unknown(source, data.caption_names())
    typed = {key: value for key, value in vars(chosen).items() if value is not None}
    known = {**asdict(before), "dtype": "float32", **typed, "source": source}
    spec = EncoderSpec(**{f.name: known[f.name] for f in fields(EncoderSpec)})
    settled = {f.name: known[f.name] for f in fields(EncoderSettings) if f.name in known}
    if spec.modality == "text":
        settled["max_tokens"] = spec.token_limit
    return EncoderSettings(**settled)


def _stored(name: str, data: StoredTowers) -> EncoderSpec | None:
    """What prep stored a tower with; None where it is not stored, or was imported."""
    if name not in data.towers():
        return None
    metadata = data.states_metadata(name)
    if metadata["encoder"].startswith(IMPORTED):
        return None
    step = data.manifest.get("steps", {}).get(f"encode:{name}", {}).get("config", {})
    return EncoderSpec.of_record(metadata, step)


def _own_source(name: str, data: StoredTowers) -> str:
    known = ["title", *PICTURES, *data.caption_names()]
    if name in known:
        return name
    raise UserError(
        f"encoders.{name}.source: not set, and no content is named {name!r}; set it to one of {', '.join(known)}"
    )
