"""Provenance of the hidden states of a run's towers. With it, a model suffices to encode the states of other items.

Keys are those of prep's configuration, so that `recipe` can return a `prep.yaml`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from models.inputs.reads import Reads
from toolkit.backbones import EncoderSpec
from toolkit.backbones.resolve import commit_of, portable, revision_of
from toolkit.dataset import Dataset
from toolkit.sources import captions_behind, captions_of
from toolkit.towers import IMPORTED, PICTURES

_SHAPE = ("layers", "width")  # shape of the states, which the model's settings contain
_CLIP_KEYS = ("frame_count", "crop_px")
_ENCODING_KEYS = ("layers", "max_tokens", "lowercase", *_CLIP_KEYS)
_MEDIA = {"cover": "covers", "frames": "frames"}  # source: the step that stores it
_RELEASED = "released"  # recorded instead of a backend if the dump contained the frames
_COMMIT = 40  # hexadecimal digits of a commit on the hub


def describe_towers(dataset: Dataset, reads: Reads) -> dict[str, Any]:
    """Provenance of towers, JSON-serialisable: encoders, captioners and media settings.

    A local path is reduced to its last part; its revision, a fingerprint, identifies the folder.

    Args:
        dataset: dataset with the towers.
        reads: what the run reads of it.

    Returns:
        `encode` by tower, `caption` by name of the captions that the towers read, and `media`, the settings of the
        images that towers and captioners read; `{}` for no towers. Unknown settings are left out.
    """
    steps: dict[str, Any] = dataset.manifest.get("steps", {})
    encode = {
        name: _live_tower(dataset, reads.encoders[name])
        | _tokens(dataset, name if name in reads.tokens else None)
        if name in reads.encoders
        else _tower(dataset.states_metadata(name), steps, name)
        for name in reads.towers
    }
    if not encode:
        return {}
    captions = [name for tower in encode.values() for name in _captions(tower)]
    caption = {
        name: _captioner(steps[f"caption:{name}"])
        for name in dict.fromkeys(captions)
        if f"caption:{name}" in steps
    }
    sources = [part["source"] for part in [*encode.values(), *caption.values()] if "source" in part]
    media: dict[str, Any] = {}
    for source in PICTURES:
        if source in sources:
            media |= steps.get(_MEDIA[source], {}).get("config", {})
    return {"encode": encode, "caption": caption, "media": media}


def pictures_of(made_with: Mapping[str, Any], tower: str) -> dict[str, Any]:
    """The settings of the pictures that one tower depends on, by itself or by captions; `{}` if it reads none.

    Args:
        made_with: the result of `describe_towers`.
        tower: its name.
    """
    part = made_with.get("encode", {}).get(tower, {})
    captioners = [made_with.get("caption", {}).get(name, {}) for name in _captions(part)]
    sources = {one.get("source") for one in [part, *captioners]}
    media = made_with.get("media", {}).items()
    return {key: value for key, value in media if _picture_of(key) in sources}


def recipe(made_with: dict[str, Any]) -> dict[str, Any]:
    """The part of a `prep.yaml` that encodes the same kind of states from another dump, without imported towers.

    Encoders and captioners from the hub are pinned to the recorded commit.
    """
    towers = made_with.get("encode", {}).items()
    encode = {name: _encoding(tower) for name, tower in towers if not is_imported(tower)}
    keys = (
        *("source", "captioner", "model", "prompt", "max_new_tokens", "max_characters"),
        *("temperature", "repetition_penalty", "dtype"),
    )
    captioners = made_with.get("caption", {}).items()
    caption = {name: _settings(captioner, keys) for name, captioner in captioners}
    media = dict(made_with.get("media", {}))
    if media.get("backend") == _RELEASED:
        media["frames_from"] = media.pop("backend")
    parts = {"media": media, "caption": caption, "encode": encode}
    return {key: part for key, part in parts.items() if part}


def is_imported(tower: dict[str, Any]) -> bool:
    """Whether a tower's states were imported from a file, so that its encoder is unknown."""
    return bool(tower["encoder"].startswith(IMPORTED))


def _picture_of(setting: str) -> str:
    """The pictures that a setting of media is about."""
    return "cover" if setting.startswith("cover") else "frames"


def _live_tower(dataset: Dataset, spec: EncoderSpec) -> dict[str, Any]:
    """As `_tower`, for an encoder that the model runs on the dataset's content."""
    tower: dict[str, Any] = {
        "encoder": portable(spec.encoder),
        "revision": revision_of(spec.encoder, commit_of(spec.encoder, spec.revision)),
        "pooling": spec.pooling,
        "source": spec.source,
        "modality": spec.modality,
        "precision": spec.dtype,
        "quantize": spec.quantize,
    }
    if captions := captions_behind(dataset, spec.source):
        tower["captions"] = captions
    if spec.modality == "text":
        tower |= {"max_tokens": spec.token_limit, "lowercase": spec.lowercase}
    chosen = {key: getattr(spec, key) for key in _CLIP_KEYS}
    return tower | {key: value for key, value in chosen.items() if value is not None}


def _tokens(dataset: Dataset, name: str | None) -> dict[str, str]:
    """Provenance of a tower's token states, beside that of its encoder; nothing where there is no name."""
    if name is None:
        return {}
    metadata = dataset.tokens_metadata(name)
    return {f"tokens_{key}": metadata[key] for key in ("layer", "precision") if key in metadata}


def _tower(metadata: dict[str, str], steps: dict[str, Any], name: str) -> dict[str, Any]:
    step = steps.get(f"encode:{name}", {})
    settings = {} if is_imported(metadata) else step.get("config", {})
    # All metadata that prep records, in its order: states may depend on keys that later versions add.
    # JSON objects are left out: they are prep's settings, which may contain local paths. The keys that
    # matter are added below.
    tower: dict[str, Any] = {
        key: value
        for key, value in metadata.items()
        if key not in _SHAPE and not value.startswith("{")
    }
    tower |= {key: settings[key] for key in _ENCODING_KEYS if settings.get(key) is not None}
    tower["encoder"] = portable(tower["encoder"])
    return tower | ({"items": step["items"]} if "items" in step else {})


def _captions(tower: dict[str, Any]) -> list[str]:
    return [] if "source" not in tower or is_imported(tower) else captions_of(tower["source"])


def _captioner(step: dict[str, Any]) -> dict[str, Any]:
    pictures = {"cover_px", "sampling", "frame_count", "frame_interval", "frame_px", "backend"}
    captioner = {key: value for key, value in step.get("config", {}).items() if key not in pictures}
    for key in ("model", "prompt"):
        if key in captioner:
            captioner[key] = portable(captioner[key])
    text = step.get("prompt", {}).get("text")
    return captioner if text is None else {**captioner, "prompt_text": text}


def _encoding(tower: dict[str, Any]) -> dict[str, Any]:
    settings = _settings(tower, ("source", "encoder", "pooling", *_ENCODING_KEYS, "quantize"))
    resolved = {"dtype": tower.get("precision"), "store": tower.get("dtype")}  # instead of `auto`
    if "tokens_layer" in tower:
        settings["tokens"] = int(tower["tokens_layer"])
    return {**settings, **{key: value for key, value in resolved.items() if value}}


def _settings(record: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    settings = {key: record[key] for key in keys if key in record}
    revision = record.get("revision", "")
    pinned = len(revision) == _COMMIT and set(revision) <= set("0123456789abcdef")
    return {**settings, "revision": revision} if pinned else settings
