"""Every step in order."""

from pathlib import Path

from prep.caption import caption, captionings
from prep.comments import comments
from prep.config import PrepConfig
from prep.encode import encode, refuse_incomplete, refuse_other_clips
from prep.executors import running
from prep.features import suggest
from prep.ingest import ingest
from prep.media import media
from prep.report import report


def build(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """From a dump to a dataset: ingest, comments, media, caption, encode, report; does what is not done yet.

    Args:
        dump: folder of what was downloaded.
        dataset: folder to write.
        config: all settings; by default no tower is encoded.
        retry_failed: whether items that are not ok are done again.

    Raises:
        UserError: whatever a step raises.
    """
    config = config or PrepConfig()
    captionings(Path(dataset), config)  # what is wrong with a model is told now, not after a day
    refuse_incomplete(config, Path(dataset))
    refuse_other_clips(config, Path(dataset))
    ingest(dump, dataset, config)
    comments(dump, dataset)
    suggest(Path(dump), config.features)
    with running(config):
        media(dump, dataset, config, retry_failed=retry_failed)
        if config.caption:
            caption(dataset, config, retry_failed=retry_failed)
        encode(dataset, config, retry_failed=retry_failed)
    report(dataset)
