"""The caption cache, shared by all datasets: a request with a cached answer is not sent again.

It is an SQLite file, so that writes are atomic and several processes may write. It holds the models' answers before
post-processing and how they ended, but no pictures, titles or keys of servers.
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
_WAIT_SECONDS = 60.0  # timeout for locks of other processes
_AT_ONCE = 500  # keys per query; SQLite limits the number
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS captions (
        key TEXT PRIMARY KEY, text TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL
    ) WITHOUT ROWID
"""


def key_of(request: Request, captioner: Captioner) -> str:
    """SHA-256, hexadecimal, of everything a caption depends on: pixels, filled prompt, model, revision, settings."""
    parts = {
        "payload": request.payload.digest(),
        "prompt": request.prompt,
        "model": captioner.model,
        "revision": captioner.revision,
        "settings": captioner.settings,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """Captions by key, in FOLDER/captions.sqlite, which is created if it does not exist.

    Args:
        folder: folder of the file. If workers of several machines share it, its file system must support locks.

    Raises:
        UserError: here and in every method, if the file cannot be read or written.
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
        """The captions of those keys that are in the cache."""
        wanted = list(dict.fromkeys(keys))
        captions: dict[str, str] = {}
        with self._open() as database:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, text FROM captions WHERE key IN ({marks})"
                captions |= {key: _unpacked(text) for key, text in database.execute(query, some)}
        return captions

    def keep(self, captions: Mapping[str, str], captioner: Captioner) -> None:
        """Stores captions by key, all of them or none."""
        model = (captioner.model, captioner.revision)
        # As JSON, which can store half an emoji that UTF-8 cannot encode.
        rows = [(key, _packed(text), *model) for key, text in captions.items()]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; an open connection could not be pickled or forked."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> UserError:
        return UserError(
            f"{self.path}: the caption cache cannot be used ({error}); free disk space, restore its folder, delete "
            "the file if it is damaged, or choose another folder with --caption_cache"
        )


def _packed(answer: str) -> str:
    """An answer as JSON: its text, and its ending unless that is `whole`."""
    ending = ended(answer)
    return json.dumps(str(answer) if ending == "whole" else {"text": answer, "ended": ending})


def _unpacked(packed: str) -> str:
    answer = json.loads(packed)
    return Answer(answer["text"], answer["ended"]) if isinstance(answer, dict) else str(answer)
