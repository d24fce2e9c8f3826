"""Step caption: a model captions every cover, or the frames of every clip; or a file of ready captions is imported."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from prep.captioners import Captioner
from prep.captioners.captioning import SHORTENED, STEP_OF, Captioning
from prep.captioners.imported import ImportedCaptions
from prep.captioners.postprocess import CUT
from prep.config import PrepConfig
from prep.executors import choose
from prep.readers.captions import open_captions, read_captions
from prep.readers.files import fingerprint
from prep.steps import manifest
from prep.steps.pipeline import Step, errors_of, run_step
from prep.steps.writing import writing
from toolkit import open_dataset, schema
from toolkit.cache import cache_folder
from toolkit.errors import UserError
from toolkit.ids import is_safe
from toolkit.schema import settings_of
from toolkit.store import Table, read_file
from toolkit.towers import PICTURES
from toolkit.versions import versions

_FINGERPRINT = "sha256:"  # prefix of a local folder's revision
SHARD = 512  # rows; the model waits for decoded pixels only at the first batch of a shard


def caption(
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
    captioners: Mapping[str, Captioner] | None = None,
) -> None:
    """Writes `captions/NAME/` for all configured captions, one row per item.

    Captions in the cache are reused, whichever dataset they were generated for. Captions with a file are imported.

    Args:
        dataset: folder that `ingest` and `media` wrote.
        config: this step uses `caption`, `caption_cache` and the executor settings; by default the configuration
            that `dataset.json` recorded last.
        retry_failed: whether to retry items whose status is not ok.
        captioners: custom captioners by the name of their captions; they override the configured model.

    Raises:
        UserError: if a prompt, model or file is not available, a file does not fit the items, or existing captions
            were generated with other settings or come from another file.
    """
    dataset = Path(dataset)
    before = manifest.require_interactions(dataset)["config"]
    config = config or manifest.recorded_config(dataset, "caption", "caption_cache", "address")
    if not config.caption:
        print("caption: no captions are configured; add some with --caption.NAME.model MODEL")
    works = captionings(dataset, config, captioners)
    for name, settings in config.caption.items():
        if settings.file:
            _import(dataset, name, settings.file, retry_failed=retry_failed)
    for name in list(works):  # `pop` frees each model after use: two may not fit into memory
        with writing(dataset, f"caption:{name}"):
            _caption(dataset, name, works.pop(name), config, retry_failed=retry_failed)
    manifest.record_config(dataset, before, caption=asdict(config)["caption"])


def captionings(
    dataset: Path, config: PrepConfig, captioners: Mapping[str, Captioner] | None = None
) -> dict[str, Captioning]:
    """The work of all configured captioners by name, after every check that is possible before a long run.

    Raises:
        UserError: if a name is not allowed, a prompt or model is not available or does not accept the source, or
            a file of captions has other columns.
    """
    for name in config.caption:
        if not is_safe(name) or set(name) & set("+:") or name in ("title", *PICTURES):
            raise UserError(
                f"captions cannot be called {name!r}: the name is used for a folder and as the source of towers; "
                "use letters, digits, - and _, and none of the names title, cover and frames"
            )
    folder = Path(config.caption_cache) if config.caption_cache else cache_folder()
    own = captioners or {}
    works = {
        name: Captioning(dataset.absolute(), settings, folder.absolute(), own.get(name))
        for name, settings in config.caption.items()
        if not settings.file
    }
    checks: dict[str, Callable[[], object]] = {name: work.prepare for name, work in works.items()}
    for name, settings in config.caption.items():
        check = checks.get(name) or partial(open_captions, settings.file)
        try:
            check()
        except UserError as error:
            raise UserError(f"captions {name!r}: {error}") from None
    return works


def _import(dataset: Path, name: str, file: str, *, retry_failed: bool) -> None:
    step, work = imported_step(name, file)
    data = open_dataset(dataset)
    unknown = work.refuse_unfit(data)
    if unknown:
        print(
            f"{step.name}: {unknown:,} captions of {file} are not used: their items are not in the dataset"
        )
    items = data.items.select(["item_id"])
    with writing(dataset, step.name):
        counts = run_step(dataset, step, items, retry_failed=retry_failed)
        manifest.record_step(
            dataset,
            step.name,
            step.config,
            revision=work.digest,
            file=file,
            versions=versions("pyarrow"),
            items=counts,
            unknown=unknown,
        )


def imported_step(name: str, file: str) -> tuple[Step, ImportedCaptions]:
    """The step that writes `captions/NAME/` from a file of ready captions, and its work.

    Raises:
        UserError: if the file cannot be read.
    """
    captions = read_captions(file)
    work = ImportedCaptions(Path(file).name, fingerprint(Path(file))["sha256"], captions)
    step = Step(
        f"caption:{name}", f"captions/{name}", schema.CAPTIONS, work.config, work, SHARD, "zstd"
    )
    return step, work


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
    if work.asker.known or work.asker.asked:  # both are 0 if the workers of a cluster captioned
        print(f"{step.name}: {work.told()}")
    cut = _cut(dataset, step)
    if any(cut.values()):
        print(
            f"{step.name}: {sum(cut.values()):,} answers were cut by max_new_tokens = {work.config.max_new_tokens}: "
            f"{cut['shortened']:,} end with their last complete sentence or clause, {cut['flagged']:,} are flagged; "
            "a higher limit cuts fewer"
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
    """Counts the answers that the token limit cut: those that were shortened, and those that are flagged."""
    shards = Table(dataset / step.folder).shards()
    metadata = [read_file(shard.path).schema.metadata or {} for shard in shards]
    flagged = [
        message.startswith(CUT)
        for message in errors_of(dataset, step.name).column("message").to_pylist()
    ]
    return {
        "shortened": sum(int(shard.get(SHORTENED, 0)) for shard in metadata),
        "flagged": sum(flagged),
    }


def caption_step(name: str, work: Captioning, recorded: dict[str, Any] | None = None) -> Step:
    """The step that writes `captions/NAME/`.

    Args:
        name: name of the captions.
        work: function that captions a batch.
        recorded: the configuration of the existing rows, which new rows must share.
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
    if processor and (not recorded or "processor" in recorded):  # older versions did not record it
        depends["processor"] = processor
    return Step(
        f"caption:{name}", f"captions/{name}", schema.CAPTIONS, depends, work, SHARD, "zstd"
    )


def _revision(captioner: Captioner, recorded: str) -> str:
    """A model's revision, with a folder's fingerprint in the version that existing rows have, for comparison."""
    if not (recorded.startswith(_FINGERPRINT) and captioner.revision.startswith(_FINGERPRINT)):
        return captioner.revision
    # Imported here: the import takes seconds, and captioners on a server do not need it.
    from toolkit.backbones.resolve import revision_as

    return revision_as(recorded, captioner.model, None)
