"""Every caption that a model has given, kept for all datasets: what was asked once is not asked again.

An SQLite file, so that a caption is kept whole or not at all, and several processes may write. Only what the
models said is in it, before any post-processing, and how it ended; no picture, no title, no key of a server.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from prep.captioners.captioner import Answer, Captioner, Request, ended
from toolkit.errors import UserError

FILE = "captions.sqlite"
_WAIT_SECONDS = 60.0  # for other processes that write
_AT_ONCE = 500  # keys in one question; SQLite has a limit
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS captions (
        key TEXT PRIMARY KEY, text TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL
    ) WITHOUT ROWID
"""


def key_of(request: Request, captioner: Captioner) -> str:
    """SHA-256, hexadecimal, of all that a caption depends on: pixels, filled prompt, model, revision, settings."""
    parts = {
        "payload": request.payload.digest(),
        "prompt": request.prompt,
        "model": captioner.model,
        "revision": captioner.revision,
        "settings": captioner.settings,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """Captions by key, in FOLDER/captions.sqlite, which is made when there is none.

    Args:
        folder: of the file. Where workers of several machines share it, its file system must have locks.

    Raises:
        UserError: if the file cannot be read or written, here and in every method.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder).absolute() / FILE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        with self._open() as database:
            database.execute(_SCHEMA)

    def find(self, keys: Iterable[str]) -> dict[str, str]:
        """The captions of those keys that are known."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, str] = {}
        with self._open() as database:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                asked = f"SELECT key, text FROM captions WHERE key IN ({marks})"
                found |= {key: _unpacked(text) for key, text in database.execute(asked, some)}
        return found

    def keep(self, captions: Mapping[str, str], captioner: Captioner) -> None:
        """Keeps captions by key, all of them or none."""
        made_by = (captioner.model, captioner.revision)
        # As JSON: half an emoji, which no UTF-8 can hold, is kept as the model gave it.
        rows = [(key, _packed(text), *made_by) for key, text in captions.items()]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; one that stays open would not survive being pickled or forked."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> UserError:
        return UserError(
            f"{self.path}: the cache of captions cannot be used ({error}); make room or give its folder back, "
            "delete the file if it is damaged, or choose another folder with --caption_cache"
        )


def _packed(said: str) -> str:
    """An answer as JSON: its text, and how it ended where that is not as a whole."""
    how = ended(said)
    return json.dumps(str(said) if how == "whole" else {"text": said, "ended": how})


def _unpacked(packed: str) -> str:
    said = json.loads(packed)
    return Answer(said["text"], said["ended"]) if isinstance(said, dict) else str(said)
