"""Captions a few items with the configured models for a quick look, without storing any rows."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.caption import caption_step, captionings
from prep.captioners.captioning import Captioning
from prep.captioners.sampled import Sample, SampledCaption, SampledCaptions, SampledItem
from prep.config import PrepConfig
from prep.reporting.samples import render_sample
from prep.steps import manifest
from toolkit import Dataset, open_dataset
from toolkit.atomic import write_atomically
from toolkit.console.progress import track
from toolkit.errors import UserError
from toolkit.measures import spaced
from toolkit.store import Table

COUNT = 20  # default number of items
PAGE = "captions-sample.html"  # in the dataset folder


def sample_captions(
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    count: int = COUNT,
    html: str | Path | None = None,
) -> Sample:
    """Captions a few items with every configured captioner, in this process, and stores no rows.

    The items are evenly spaced over the table of items, so that a rerun samples the same items. The sample uses
    the caption cache: `caption` does not generate these captions again.

    Args:
        dataset: folder that `ingest` and `media` wrote.
        config: uses `caption` and `caption_cache`; by default the configuration that `dataset.json` recorded last.
        count: number of items; all items if the dataset has fewer.
        html: HTML page to write; by default none.

    Raises:
        UserError: if `count` is below 1, `html` is a folder, no captions are configured, a prompt or model is
            not available, or the dataset has no pictures.
    """
    dataset = Path(dataset)
    config = config or manifest.recorded_config(dataset, "caption", "caption_cache")
    _refuse_useless(dataset, config, count, html)
    works = captionings(dataset, config)
    for work in works.values():
        work.refuse_absent_source()
    data = open_dataset(dataset)
    items = _items(data, spaced(data.items.num_rows, count))
    ids = [item.item_id for item in items]
    # `pop` frees each model after use: two may not fit into memory.
    names = [_caption(name, works.pop(name), ids) for name in track(list(works), "sample")]
    sample = Sample(data.name, data.items.num_rows, items, names)
    if html is not None:
        page = render_sample(sample).encode()
        write_atomically(Path(html), lambda file: file.write(page))
    return sample


def _refuse_useless(dataset: Path, config: PrepConfig, count: int, html: str | Path | None) -> None:
    if count < 1:
        raise UserError(f"the sample size is {count}; it must be at least 1")
    if all(settings.file for settings in config.caption.values()):
        raise UserError(
            f"{dataset}: no model is configured for captions, so there is nothing to sample; "
            "add some with --caption.NAME.model MODEL"
        )
    if html is not None and Path(html).is_dir():
        raise UserError(f"{html} is a folder; give a file name for the page, such as {PAGE}")


def _items(data: Dataset, indices: list[int]) -> list[SampledItem]:
    chosen = data.items.select(["item_id", "title"]).take(pa.array(indices, pa.int64())).to_pylist()
    ids = [row["item_id"] for row in chosen]
    covers = _rows(data, "covers", ["image"], ids)
    clips = _rows(data, "frames", ["frames", "pts_seconds"], ids)
    return [
        SampledItem(
            row["item_id"],
            row["title"] or "",
            cover.get("image"),
            clip.get("frames") or [],
            clip.get("pts_seconds"),
        )
        for row, cover, clip in zip(chosen, covers, clips, strict=True)
    ]


def _rows(data: Dataset, name: str, columns: list[str], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a media table for each id; empty if the id has no row or the dataset has no such table."""
    if not Table(data.path / name).exists():
        return [{} for _ in ids]
    table: pa.Table = getattr(data, name)
    indices = pc.index_in(pa.array(ids, pa.string()), table.column("item_id")).to_pylist()
    pictures = table.select(columns)
    # Row by row: `take` would first concatenate gigabytes of mapped shards in memory.
    return [{} if row is None else pictures.slice(row, 1).to_pylist()[0] for row in indices]


def _caption(name: str, work: Captioning, ids: list[str]) -> SampledCaptions:
    batch = pa.RecordBatch.from_pydict({"item_id": pa.array(ids, pa.string())})
    started = time.perf_counter()
    rows = work(batch).to_pylist()
    seconds = time.perf_counter() - started
    return SampledCaptions(
        name=name,
        about=caption_step(name, work).config,
        prompt=work.prompt.text,
        captions=[SampledCaption(row["text"], row["status"], row["message"]) for row in rows],
        known=work.asker.known,
        asked=work.asker.asked,
        seconds=seconds,
        working_seconds=work.asker.seconds,
    )
