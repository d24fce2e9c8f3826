"""Fingerprints of a model's local folder: every byte that decides what it computes."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from toolkit.digests import remembered_sha256_of

PREFIX = "sha256:"
_DIGITS = 32
_DIGITS_OF_PARTS = 16  # what Versa wrote when it hashed only parts of the files
# Configurations of model, processors, generation and adapters, vocabularies, merges, sentence models, chat templates,
# code of a model's own, and weights. Pickled weights are never loaded; what else lies in a folder decides nothing.
_SUFFIXES = {
    *(".json", ".jinja", ".py", ".safetensors", ".yaml", ".yml"),
    *(".bpe", ".dict", ".gz", ".merges", ".model", ".spm", ".tiktoken", ".txt", ".vocab"),
}
_NOTHING = {"license.txt", "notice.txt", "requirements.txt", "trainer_state.json"}
_FOLDERS = ("", "additional_chat_templates")  # transformers reads nothing below others unasked
_SAMPLE_BYTES = 1 << 20


def fingerprint(folder: Path) -> str:
    """`sha256:` and 32 hexadecimal digits over the names and the whole content of a model's files.

    Large files are read once; later their digests come from the user's cache (`toolkit.digests`).
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {remembered_sha256_of(path)}\n".encode("utf-8", "surrogateescape"))
    return PREFIX + digest.hexdigest()[:_DIGITS]


def fingerprint_of_file(path: Path) -> str:
    """`sha256:` and 32 hexadecimal digits of a file's whole content, cached as those of folders are."""
    return PREFIX + remembered_sha256_of(path)[:_DIGITS]


def is_of_parts(revision: str) -> bool:
    """Whether a fingerprint was recorded by an older Versa, which hashed only parts of the files."""
    return revision.startswith(PREFIX) and len(revision.removeprefix(PREFIX)) == _DIGITS_OF_PARTS


def fingerprint_of_parts(folder: Path) -> str:
    """The fingerprint as an older Versa recorded it: of each weight file, its size, first and last MiB.

    It says only that an encoder may be the recorded one, and is compared with nothing but its kind.
    """
    digest = hashlib.sha256()
    patterns = ("*config.json", "*.jinja", "*.safetensors")
    for path in sorted(chain.from_iterable(map(folder.glob, patterns))):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(size - _SAMPLE_BYTES, 0))
            digest.update(file.read())
    return PREFIX + digest.hexdigest()[:_DIGITS_OF_PARTS]


def _files(folder: Path) -> Iterator[Path]:
    for inside in _FOLDERS:
        for path in sorted((folder / inside).glob("*")):
            decides = path.suffix.lower() in _SUFFIXES and path.name.lower() not in _NOTHING
            if decides and not path.name.startswith(".") and path.is_file():
                yield path
