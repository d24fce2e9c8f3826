"""The step before encoding: what a model says of every cover, or of every clip's frames."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prep import manifest
from prep.captioners import Captioner
from prep.captions import STEP_OF, Captioning
from prep.config import PrepConfig
from prep.executors import choose
from prep.pipeline import Step, run_step
from prep.writing import writing
from toolkit import schema
from toolkit.cache import cache_folder
from toolkit.errors import UserError
from toolkit.ids import is_safe
from toolkit.towers import PICTURES
from toolkit.versions import versions

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
    step = caption_step(name, work)
    counts = run_step(
        dataset,
        step,
        work.data.items.select(["item_id"]),
        execute=choose(config, model=True),
        retry_failed=retry_failed,
    )
    if work.asker.known or work.asker.asked:  # in a cluster, its workers know
        print(f"{step.name}: {work.told()}")
    manifest.record_step(
        dataset,
        step.name,
        step.config,
        revision=step.config["revision"],
        prompt=asdict(work.prompt),
        versions=versions("torch", "transformers"),
        items=counts,
    )


def caption_step(name: str, work: Captioning) -> Step:
    """The step that writes `captions/NAME/`."""
    config, prompt = work.config, work.prompt
    source_step = work.data.manifest["steps"].get(STEP_OF[config.source], {})
    depends: dict[str, Any] = {
        "source": config.source,
        "captioner": type(work.own).__name__ if work.own else config.captioner,
        "model": work.captioner.model,
        "revision": work.captioner.revision,
        "prompt": f"{prompt.name}@{prompt.version}" if prompt.version else prompt.name,
        "prompt_hash": prompt.hash,
        "max_new_tokens": config.max_new_tokens,
        "max_characters": config.max_characters,
        "temperature": config.temperature,
        "repetition_penalty": config.repetition_penalty,
        "dtype": config.dtype,
        **source_step.get("config", {}),
    }
    return Step(
        f"caption:{name}", f"captions/{name}", schema.CAPTIONS, depends, work, SHARD, "zstd"
    )
