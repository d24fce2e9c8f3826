"""What the states of a run's towers were made with: whoever has only its model can make those of other items.

Said in prep's own words, so that it can stand in a `prep.yaml` again (`recipe`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from toolkit.backbones import EncoderSpec
from toolkit.backbones.resolve import commit_of, portable, revision_of
from toolkit.dataset import Dataset
from toolkit.sources import captions_behind, captions_of
from toolkit.towers import IMPORTED, PICTURES

_SHAPE = ("layers", "width")  # of states, which the model's own settings tell
_OF_ENCODING = ("layers", "max_tokens", "lowercase")
_MEDIA = {"cover": "covers", "frames": "frames"}  # the step that stores what a source shows
_RELEASED = "released"  # stands for a backend where frames came ready with the dump
_COMMIT = 40  # hexadecimal digits: what the hub pins a repository by


def describe_towers(
    dataset: Dataset, towers: Iterable[str], *, encoders: Mapping[str, EncoderSpec] | None = None
) -> dict[str, Any]:
    """Encoders, captioners and pictures behind some towers, as JSON can hold it.

    A folder of this machine is named by its last part alone: its revision, a fingerprint, says which it was.

    Args:
        dataset: that holds them.
        towers: their names.
        encoders: those that a model runs itself, by tower; the states of other towers are stored.

    Returns:
        `encode` by tower, `caption` by name of the captions that these read, and `media` of the pictures that
        either looks at; `{}` for no towers. What the dataset does not say is left out.
    """
    steps: dict[str, Any] = dataset.manifest.get("steps", {})
    encoders = encoders or {}
    encode = {
        name: _live_tower(dataset, encoders[name])
        if name in encoders
        else _tower(dataset.states_metadata(name), steps, name)
        for name in towers
    }
    if not encode:
        return {}
    read = [name for tower in encode.values() for name in _captions(tower)]
    caption = {
        name: _captioner(steps[f"caption:{name}"])
        for name in dict.fromkeys(read)
        if f"caption:{name}" in steps
    }
    seen = [tower["source"] for tower in [*encode.values(), *caption.values()] if "source" in tower]
    media: dict[str, Any] = {}
    for source in PICTURES:
        if source in seen:
            media |= steps.get(_MEDIA[source], {}).get("config", {})
    return {"encode": encode, "caption": caption, "media": media}


def recipe(made_with: dict[str, Any]) -> dict[str, Any]:
    """The part of a `prep.yaml` that makes such states of another dump; imported towers are left out.

    Encoders and captioners of the hub are pinned to the commit that was used.
    """
    towers = made_with.get("encode", {}).items()
    encode = {name: _encoding(tower) for name, tower in towers if not is_imported(tower)}
    asked = ("source", "captioner", "model", "prompt", "max_new_tokens", "max_characters")
    how = ("temperature", "repetition_penalty", "dtype")
    caption = {
        name: _settings(one, (*asked, *how)) for name, one in made_with.get("caption", {}).items()
    }
    media = dict(made_with.get("media", {}))
    if media.get("backend") == _RELEASED:
        media["frames_from"] = media.pop("backend")
    parts = {"media": media, "caption": caption, "encode": encode}
    return {key: part for key, part in parts.items() if part}


def is_imported(tower: dict[str, Any]) -> bool:
    """Whether a tower's states came ready from a file, so that no encoder is known."""
    return bool(tower["encoder"].startswith(IMPORTED))


def _live_tower(dataset: Dataset, spec: EncoderSpec) -> dict[str, Any]:
    """As `_tower`, of an encoder that is run on the dataset's content."""
    found: dict[str, Any] = {
        "encoder": portable(spec.encoder),
        "revision": revision_of(spec.encoder, commit_of(spec.encoder, spec.revision)),
        "pooling": spec.pooling,
        "source": spec.source,
        "modality": spec.modality,
        "precision": spec.dtype,
        "quantize": spec.quantize,
    }
    if captions := captions_behind(dataset, spec.source):
        found["captions"] = captions
    if spec.modality == "text":
        found |= {"max_tokens": spec.token_limit, "lowercase": spec.lowercase}
    return found


def _tower(about: dict[str, str], steps: dict[str, Any], name: str) -> dict[str, Any]:
    step = steps.get(f"encode:{name}", {})
    asked = {} if is_imported(about) else step.get("config", {})
    # Whatever prep records, in its order: what a later one adds is part of what states depend on.
    # Objects are prep's own settings, paths of this machine included; what of them matters is named below.
    found: dict[str, Any] = {
        key: value
        for key, value in about.items()
        if key not in _SHAPE and not value.startswith("{")
    }
    found |= {key: asked[key] for key in _OF_ENCODING if key in asked}
    found["encoder"] = portable(found["encoder"])
    return found | ({"items": step["items"]} if "items" in step else {})


def _captions(tower: dict[str, Any]) -> list[str]:
    return [] if is_imported(tower) else captions_of(tower["source"])


def _captioner(step: dict[str, Any]) -> dict[str, Any]:
    pictures = {"cover_px", "sampling", "frame_count", "frame_interval", "frame_px", "backend"}
    found = {key: value for key, value in step.get("config", {}).items() if key not in pictures}
    for key in ("model", "prompt"):
        if key in found:
            found[key] = portable(found[key])
    text = step.get("prompt", {}).get("text")
    return found if text is None else {**found, "prompt_text": text}


def _encoding(tower: dict[str, Any]) -> dict[str, Any]:
    settings = _settings(tower, ("source", "encoder", "pooling", *_OF_ENCODING, "quantize"))
    known = {"dtype": tower.get("precision"), "store": tower.get("dtype")}  # what `auto` came to
    return {**settings, **{key: value for key, value in known.items() if value}}


def _settings(made: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    settings = {key: made[key] for key in keys if key in made}
    revision = made.get("revision", "")
    pinned = len(revision) == _COMMIT and set(revision) <= set("0123456789abcdef")
    return {**settings, "revision": revision} if pinned else settings
