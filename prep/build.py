"""Step build: runs all steps in order."""

from pathlib import Path

from prep.caption import caption, captionings
from prep.comments import comments
from prep.config import PrepConfig
from prep.encode import encode, refuse_incomplete, refuse_other_clips
from prep.executors import running
from prep.ingest import STEP, ingest, read_from
from prep.media import media
from prep.report import report
from prep.steps.writing import writing
from prep.towers.imported import suggest


def build(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """Builds a dataset from a dump: ingest, comments, media, caption, encode, report. Resumes unfinished steps.

    Args:
        dump: folder of the downloaded dump.
        dataset: folder to write.
        config: all settings; by default no tower is encoded.
        retry_failed: whether to retry items whose status is not ok.

    Raises:
        UserError: if a step raises it, or another process is building or ingesting the dataset.
    """
    config = config or PrepConfig()
    # Report mistakes now, not after a day of work, and before a lock file is written into a new folder.
    captionings(Path(dataset), config)
    refuse_incomplete(config, Path(dataset))
    refuse_other_clips(config, Path(dataset))
    read_from(Path(dump), Path(dataset), config)
    with writing(Path(dataset), STEP):
        _build(dump, dataset, config, retry_failed=retry_failed)


def _build(
    dump: str | Path, dataset: str | Path, config: PrepConfig, *, retry_failed: bool
) -> None:
    ingest(dump, dataset, config)
    comments(dump, dataset)
    suggest(Path(dump), config.features)
    with running(config):
        media(dump, dataset, config, retry_failed=retry_failed)
        if config.caption:
            caption(dataset, config, retry_failed=retry_failed)
        encode(dataset, config, retry_failed=retry_failed)
    report(dataset)
