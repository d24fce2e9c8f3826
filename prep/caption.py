"""The step before encoding: what a model says of every cover, or of every clip's frames."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prep.captioners import Captioner
from prep.captioners.captioning import SHORTENED, STEP_OF, Captioning
from prep.captioners.postprocess import CUT
from prep.config import PrepConfig
from prep.executors import choose
from prep.steps import manifest
from prep.steps.pipeline import Step, errors_of, run_step
from prep.steps.writing import writing
from toolkit import schema
from toolkit.cache import cache_folder
from toolkit.errors import UserError
from toolkit.ids import is_safe
from toolkit.schema import settings_of
from toolkit.store import Table, read_file
from toolkit.towers import PICTURES
from toolkit.versions import versions

_OF_A_FOLDER = "sha256:"  # so begin fingerprints
SHARD = 512  # its first batch's pixels are the only ones that the model waits for


def caption(
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
    captioners: Mapping[str, Captioner] | None = None,
) -> None:
    """Writes `captions/NAME/` for all configured captions, a row an item.

    A caption that the cache has is taken from there, whichever dataset it was made for.

    Args:
        dataset: what `ingest` and `media` wrote.
        config: `caption`, `caption_cache` and where to work are read here; by default what
            `dataset.json` recorded last.
        retry_failed: whether items that are not ok are done again.
        captioners: of your own, by the name of their captions; they go before the configured model.

    Raises:
        UserError: if a prompt or model cannot be had, or existing captions were made with another.
    """
    dataset = Path(dataset)
    before = manifest.require(dataset)["config"]
    config = config or manifest.recorded_config(dataset, "caption", "caption_cache", "address")
    if not config.caption:
        print("caption: no captions are configured; --caption.NAME.model MODEL makes some")
    works = captionings(dataset, config, captioners)
    for name in list(
        works
    ):  # each is let go once it is done: two models might not fit side by side
        with writing(dataset, f"caption:{name}"):
            _caption(dataset, name, works.pop(name), config, retry_failed=retry_failed)
    manifest.record_config(dataset, before, caption=asdict(config)["caption"])


def captionings(
    dataset: Path, config: PrepConfig, captioners: Mapping[str, Captioner] | None = None
) -> dict[str, Captioning]:
    """The work of all configured captions by name; all that can be told before a long run has been checked.

    Raises:
        UserError: if a name cannot be one, or a prompt or model cannot be had or does not take the source.
    """
    for name in config.caption:
        if not is_safe(name) or set(name) & set("+:") or name in ("title", *PICTURES):
            raise UserError(
                f"captions cannot be called {name!r}: towers read them by that name, and it names a folder; "
                "use letters, digits, - and _, and another name than title, cover or frames"
            )
    folder = Path(config.caption_cache) if config.caption_cache else cache_folder()
    own = captioners or {}
    works = {
        name: Captioning(dataset.absolute(), settings, folder.absolute(), own.get(name))
        for name, settings in config.caption.items()
    }
    for name, work in works.items():
        try:
            work.prepare()
        except UserError as error:
            raise UserError(f"captions {name!r}: {error}") from None
    return works


def _caption(
    dataset: Path, name: str, work: Captioning, config: PrepConfig, *, retry_failed: bool
) -> None:
    work.refuse_absent_source()
    table = Table(dataset / "captions" / name)
    recorded = settings_of(table.schema(), where=str(table.folder)) if table.exists() else {}
    step = caption_step(name, work, recorded)
    counts = run_step(
        dataset,
        step,
        work.data.items.select(["item_id"]),
        execute=choose(config, model=True),
        retry_failed=retry_failed,
    )
    if work.asker.known or work.asker.asked:  # in a cluster, its workers know
        print(f"{step.name}: {work.told()}")
    cut = _cut(dataset, step)
    if any(cut.values()):
        print(
            f"{step.name}: {sum(cut.values()):,} answers were cut by max_new_tokens = {work.config.max_new_tokens}: "
            f"{cut['shortened']:,} end with their last whole sentence or clause, {cut['flagged']:,} are flagged; "
            "a larger one cuts fewer"
        )
    manifest.record_step(
        dataset,
        step.name,
        step.config,
        revision=step.config["revision"],
        prompt=asdict(work.prompt),
        versions=versions("torch", "transformers"),
        items=counts,
        cut=cut,
    )


def _cut(dataset: Path, step: Step) -> dict[str, int]:
    """How many answers the limit of tokens cut: those that were shortened, and those that are flagged."""
    shards = Table(dataset / step.folder).shards()
    metadata = [read_file(shard.path).schema.metadata or {} for shard in shards]
    flagged = [
        message.startswith(CUT)
        for message in errors_of(dataset, step.name).column("message").to_pylist()
    ]
    return {
        "shortened": sum(int(found.get(SHORTENED, 0)) for found in metadata),
        "flagged": sum(flagged),
    }


def caption_step(name: str, work: Captioning, recorded: dict[str, Any] | None = None) -> Step:
    """The step that writes `captions/NAME/`.

    Args:
        name: of the captions.
        work: what it does.
        recorded: the configuration of the rows that exist, which new ones must have.
    """
    config, prompt, recorded = work.config, work.prompt, recorded or {}
    source_step = work.data.manifest["steps"].get(STEP_OF[config.source], {})
    depends: dict[str, Any] = {
        "source": config.source,
        "captioner": type(work.own).__name__ if work.own else config.captioner,
        "model": work.captioner.model,
        "revision": _revision(work.captioner, str(recorded.get("revision", ""))),
        "prompt": f"{prompt.name}@{prompt.version}" if prompt.version else prompt.name,
        "prompt_hash": prompt.hash,
        "max_new_tokens": config.max_new_tokens,
        "max_characters": config.max_characters,
        "temperature": config.temperature,
        "repetition_penalty": config.repetition_penalty,
        "dtype": config.dtype,
        **source_step.get("config", {}),
    }
    processor = getattr(work.captioner, "processor", None)
    if processor and (not recorded or "processor" in recorded):  # an older Versa did not tell
        depends["processor"] = processor
    return Step(
        f"caption:{name}", f"captions/{name}", schema.CAPTIONS, depends, work, SHARD, "zstd"
    )


def _revision(captioner: Captioner, recorded: str) -> str:
    """A model's revision in the form in which existing rows have it: a folder's fingerprint, like with like."""
    if not (recorded.startswith(_OF_A_FOLDER) and captioner.revision.startswith(_OF_A_FOLDER)):
        return captioner.revision
    from toolkit.backbones.resolve import (
        revision_as,
    )  # here: it takes seconds, and servers need none

    return revision_as(recorded, captioner.model, None)
