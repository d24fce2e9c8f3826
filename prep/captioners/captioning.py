"""The work of a captioning step: from a batch of items to rows of captions."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.captioners import (
    Captioner,
    Finished,
    Payload,
    Prompt,
    Request,
    finish,
    load_captioner,
    load_prompt,
    suited,
)
from prep.captioners.asking import Asker, Failure
from prep.captioners.cache import Cache
from prep.config import CaptionConfig
from prep.steps.problems import Problem
from toolkit import Dataset, open_dataset, schema
from toolkit.errors import UserError
from toolkit.schema import Status
from toolkit.sources import rows_by_item

SCHEMA = schema.CAPTIONS.append(pa.field("message", pa.string()))
SHORTENED = b"versa_shortened"  # metadata key of a shard: number of captions shortened to complete sentences
STEP_OF = {"cover": "covers", "frames": "frames"}  # the step that stores a source
_STATUS_OF_FLAW: dict[str, Status] = {
    "empty": "empty",
    "reasoning": "empty",
    "refused": "unsupported",
    "repeats": "corrupt",
    "not_json": "corrupt",
    "cut": "corrupt",
}


@dataclass(frozen=True)
class Captioning:
    """The work of one name of captions: from items to rows.

    Dataset, prompt and model are opened at first use and are not pickled, so each worker opens them once.

    Args:
        dataset: dataset folder, a path that is valid for every worker.
        config: settings of these captions.
        cache: folder of the cache; None disables the cache.
        own: custom captioner that overrides the configured model.
    """

    dataset: Path
    config: CaptionConfig
    cache: Path | None
    own: Captioner | None = None

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """One row per item of the batch (`toolkit.schema.CAPTIONS` and `message`)."""
        ids = batch.column("item_id").to_pylist()
        numbers = self.data.item_ids.find(ids)
        picture_rows = self._picture_rows[numbers].tolist()
        payloads = [self._payload(id_, row) for id_, row in zip(ids, picture_rows, strict=True)]
        titles = self.data.source_reader("title").read(numbers).to_pylist()
        requests = {
            id_: Request(payload, self.prompt.fill(title=title or ""))
            for id_, payload, title in zip(ids, payloads, titles, strict=True)
            if isinstance(payload, Payload)
        }
        answers = dict(zip(requests, self.asker.ask(list(requests.values())), strict=True))
        rows = [
            self._row(id_, payload if isinstance(payload, Problem) else answers[id_])
            for id_, payload in zip(ids, payloads, strict=True)
        ]
        shortened = sum(row["status"] == "ok" and "message" in row for row in rows)
        return pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata(
            {SHORTENED: str(shortened)}
        )

    def __reduce__(self) -> tuple[type["Captioning"], tuple[Any, ...]]:
        return type(self), (self.dataset, self.config, self.cache, self.own)

    def prepare(self) -> None:
        """Checks the prompt, and the model as far as possible without its weights.

        Raises:
            UserError: if one of them is not available, or the model does not accept the source.
        """
        self.prompt, self.captioner  # noqa: B018

    def refuse_absent_source(self) -> None:
        """Refuses a dataset without the pictures that the source needs.

        Raises:
            UserError: if the dump had no such pictures, or they are not stored yet.
        """
        name = STEP_OF[self.config.source]
        step = self.data.manifest["steps"].get(name)
        if step is None:
            raise UserError(f"{self.dataset}: {name} are not stored yet; run prep media first")
        if "skipped" in step:
            raise UserError(
                f"captions of {self.config.source} are configured, but {step['skipped']}; remove them and the towers "
                "that read them from the configuration"
            )

    def told(self) -> str:
        """A summary of the sources of the captions so far, and of the model's idle time."""
        asker, busy = self.asker, self.captioner.usage.busy_seconds
        summary = f"{asker.known:,} from the cache, {asker.asked:,} from the model"
        if not busy:  # the load of a server is unknown
            return summary
        return f"{summary}, which was idle {max(1 - busy / asker.seconds, 0):.1%} of the time"

    @cached_property
    def data(self) -> Dataset:
        """The dataset with covers, frames and titles."""
        return open_dataset(self.dataset)

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt of the configuration."""
        return load_prompt(self.config.prompt_name)

    @cached_property
    def captioner(self) -> Captioner:
        """The captioner, which loads its weights at the first caption."""
        return load_captioner(self.config) if self.own is None else suited(self.own, self.config)

    @cached_property
    def asker(self) -> Asker:
        """The captioner with its cache."""
        return Asker(
            self.captioner,
            cache=Cache(self.cache) if self.cache else None,
            worth_keeping=lambda raw: self.finish(raw).flaw is None,
            hopeless=self._hopeless,
        )

    def finish(self, raw: str) -> Finished:
        """Post-processes an answer of the model for storage."""
        limit, answer = self.config.max_characters, self.prompt.answer
        return finish(raw, max_characters=limit, answer=answer)

    def _hopeless(self, raw: str) -> str | None:
        """Why an answer indicates that all other answers would fail in the same way, or None."""
        done = self.finish(raw)
        if done.flaw != "reasoning":
            return None
        return f"{done.message} (max_new_tokens is {self.config.max_new_tokens})"

    @cached_property
    def _pictures(self) -> pa.Table:
        return self.data.covers if self.config.source == "cover" else self.data.frames

    @cached_property
    def _picture_rows(self) -> NDArray[np.int64]:
        """(N + 1,) the row of each item's pictures; -1 for an item without one."""
        return rows_by_item(self.data.items, self._pictures)

    def _payload(self, item_id: str, row: int) -> Payload | Problem:
        """The model's input: a cover, or a clip's frames; of a truncated clip, the frames that exist."""
        source, step = self.config.source, STEP_OF[self.config.source]
        if row < 0:
            return Problem(item_id, "missing", f"no {source} is stored; run prep media again")

        def value(column: str) -> Any:
            return self._pictures.column(column)[row].as_py()

        pictures = value("image" if source == "cover" else "frames")
        if not pictures:
            status = value("status")
            return Problem(
                item_id, status, f"nothing to caption: its {source} is {status} (why: step {step})"
            )
        if source == "cover":
            return Payload([pictures])
        return Payload(pictures, value("pts_seconds"), is_video=True)

    def _row(self, item_id: str, outcome: str | Failure | Problem) -> dict[str, Any]:
        row: dict[str, Any] = {
            "item_id": item_id,
            "model": self.captioner.model,
            "revision": self.captioner.revision,
            "prompt_hash": self.prompt.hash,
        }
        if isinstance(outcome, Problem):
            return {**row, "status": outcome.error_class, "message": outcome.message}
        if isinstance(outcome, Failure):
            return {**row, "status": "unsupported", "message": f"not captioned: {outcome.reason}"}
        done = self.finish(outcome)
        if done.flaw:
            status = _STATUS_OF_FLAW[done.flaw]
            return {**row, "text": done.text or None, "status": status, "message": done.message}
        shortened = {"message": done.message} if done.message else {}
        return {**row, "text": done.text, "status": "ok", **shortened}
