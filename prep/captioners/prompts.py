"""Prompts: named, versioned and hashed, so that every caption records its exact prompt.

The built-in prompts are the files `prompts/NAME.VERSION.txt`. To improve a prompt, add a version and keep the old
file, because existing captions refer to it.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from toolkit.errors import UserError

SLOTS = ("title",)  # names that a prompt may contain in braces; filled for each item

_SLOT = re.compile(r"\{(\w+)\}")  # does not match a JSON example, whose braces contain quotes
_BUILT_IN = re.compile(r"(?P<name>[a-z-]+)\.(?P<version>\d+)\.txt")


@dataclass(frozen=True)
class Prompt:
    """A prompt for captions.

    Args:
        name: name of a built-in prompt, or path of a user's file.
        version: version of a built-in prompt, from 1; 0 for a user's file.
        text: text with slots.
        answer: form of the answer: text or JSON (`prep.captioners.answers`).
    """

    name: str
    version: int
    text: str
    answer: Literal["text", "json"] = "text"

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the exact text and the version."""
        return hashlib.sha256(f"{self.version}\n{self.text}".encode()).hexdigest()[:16]

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots in the text, each once."""
        return tuple(dict.fromkeys(_SLOT.findall(self.text)))

    def fill(self, **values: str) -> str:
        """The text with filled slots; braces within a value are kept.

        Raises:
            KeyError: if a slot has no value.
        """
        return _SLOT.sub(lambda slot: values[slot[1]], self.text)


def load_prompt(name: str) -> Prompt:
    """Loads a built-in prompt in its newest version, or a prompt from a user's file.

    Args:
        name: a key of `built_in_prompts()`, `NAME@VERSION` for an older version, or the path of a UTF-8 file.

    Raises:
        UserError: if there is no such prompt or file, or it has an unknown slot.
    """
    known = built_in_prompts()
    base, _, version = name.partition("@")
    if base in known and not version:
        return _read_built_in(base, max(known[base]))
    if base in known and version.isdecimal() and int(version) in known[base]:
        return _read_built_in(base, int(version))
    if not Path(name).is_file():
        raise UserError(
            f"prompt {name!r} is neither a file nor a built-in prompt; built-in prompts are: {', '.join(known)}"
        )
    return _refuse_unknown_slots(Prompt(name, 0, _read(Path(name))))


def built_in_prompts() -> dict[str, list[int]]:
    """The sorted names of the built-in prompts, each with its versions."""
    versions: dict[str, list[int]] = {}
    for file in sorted(
        files("prep.captioners").joinpath("prompts").iterdir(), key=lambda f: f.name
    ):
        match = _BUILT_IN.fullmatch(file.name)
        if match:
            versions.setdefault(match["name"], []).append(int(match["version"]))
    return versions


def _read_built_in(name: str, version: int) -> Prompt:
    file = files("prep.captioners").joinpath("prompts", f"{name}.{version}.txt")
    answer: Literal["text", "json"] = "json" if name.endswith("-json") else "text"
    return Prompt(name, version, file.read_text(encoding="utf-8").strip(), answer)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"prompt {str(path)!r} is not UTF-8 ({error}); save it as UTF-8") from None


def _refuse_unknown_slots(prompt: Prompt) -> Prompt:
    unknown = [slot for slot in prompt.slots if slot not in SLOTS]
    if unknown:
        raise UserError(
            f"prompt {prompt.name!r} has the unknown slot {{{unknown[0]}}}; "
            f"use only the known slots: {', '.join(f'{{{slot}}}' for slot in SLOTS)}"
        )
    return prompt
