"""A look before days of work: what the configured models say of a few items, without storing any of it."""

import re
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from prep import manifest
from prep.caption import caption_step, captionings
from prep.captions import Captioning
from prep.config import PrepConfig
from prep.reporting.samples import render_sample
from toolkit import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.measures import number, spaced
from toolkit.progress import duration, track
from toolkit.store import Table, write_atomically

COUNT = 20  # items, where nobody says how many
PAGE = "captions-sample.html"  # within the dataset
COLUMNS = 100  # of the text
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # could move a terminal's cursor


class SampledItem(NamedTuple):
    """An item as the models are shown it.

    Args:
        item_id: its id.
        title: its title, maybe empty.
        cover: JPEG; None where there is none.
        frames: JPEG, in the order of time; none where there are none.
        pts_seconds: when each frame is on screen; None where nobody knows.
    """

    item_id: str
    title: str
    cover: bytes | None
    frames: list[bytes]
    pts_seconds: list[float] | None


class SampledCaption(NamedTuple):
    """What would become of an item's row in `captions/NAME/`.

    Args:
        text: the caption, also one with a flaw; None where there is none.
        status: `ok`, or the word for what is wrong.
        message: what is wrong; None of ok.
    """

    text: str | None
    status: str
    message: str | None


@dataclass(frozen=True)
class SampledCaptions:
    """The captions of one name.

    Args:
        name: of the captions.
        about: all that they depend on, as `dataset.json` would record it: model, revision, prompt, ...
        prompt: its text, slots not filled.
        captions: one for each sampled item, in their order.
        known: how many the cache had.
        asked: how many were asked of the model; equal requests count once, here and in `known`.
        seconds: how long all this took, once the model could be asked.
        working_seconds: the part of it in which the model was at work, without loading it.
    """

    name: str
    about: dict[str, Any]
    prompt: str
    captions: list[SampledCaption]
    known: int
    asked: int
    seconds: float
    working_seconds: float

    @property
    def seconds_per_caption(self) -> float | None:
        """The model's pace; None where it was not asked."""
        return self.working_seconds / self.asked if self.asked else None


@dataclass(frozen=True)
class Sample:
    """A few items and what the models say of them; as a string, a text for a terminal.

    Args:
        dataset: its name.
        item_count: how many items it has in all.
        items: the sampled ones.
        names: the captions of each name.
    """

    dataset: str
    item_count: int
    items: list[SampledItem]
    names: list[SampledCaptions]

    def took(self, captions: SampledCaptions) -> str:
        """In words: how long the sample took, and where the captions came from."""
        return (
            f"{number(len(self.items), 'item')} in {_time(captions.seconds)}: "
            f"{captions.asked:,} asked of the model, {captions.known:,} from the cache"
        )

    def outlook(self, captions: SampledCaptions) -> str:
        """In words: how long all items would take."""
        pace = captions.seconds_per_caption
        if pace is None:
            return "the model was not asked, so its pace is not known"
        return (
            f"all {number(self.item_count, 'item')} would take about {_time(pace * self.item_count)} "
            "at that pace; models warm up, so it may be less"
        )

    def __str__(self) -> str:
        width = max(len(captions.name) for captions in self.names)
        lines: list[str] = []
        for place, item in enumerate(self.items):
            lines.append(f"{_line(item.item_id)}  {_line(item.title)}".rstrip())
            for captions in self.names:
                begin = f"  {captions.name:<{width}}  "
                lines += _wrapped(begin, _words(captions.captions[place]))
        for captions in self.names:
            about = f"{captions.about['model']}, prompt {captions.about['prompt']}"
            lines += ["", f"{captions.name}: {about}"]
            lines += [f"  {self.took(captions)}", f"  {self.outlook(captions)}"]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """All of it but the pictures, as JSON can hold it."""
        items = [{"item_id": item.item_id, "title": item.title} for item in self.items]
        return {**asdict(replace(self, items=[])), "items": items}


def sample_captions(
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    count: int = COUNT,
    html: str | Path | None = None,
) -> Sample:
    """Captions a few items with every configured captions name, in this process, and stores no rows.

    The items are evenly spaced over the table of items, so a rerun takes the same ones. Captions go through
    the cache: what was sampled is not asked again by `caption`.

    Args:
        dataset: what `ingest` and `media` wrote.
        config: `caption` and `caption_cache` are read here; by default what `dataset.json` recorded last.
        count: how many items, all of them where there are fewer.
        html: a page to write; none by default.

    Raises:
        UserError: if `count` is below 1, `html` is a folder, no captions are configured, a prompt or model
            cannot be had, or there are no pictures.
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
    # Each is let go once it is done: two models might not fit beside one another.
    names = [_caption(name, works.pop(name), ids) for name in track(list(works), "sample")]
    sample = Sample(data.name, data.items.num_rows, items, names)
    if html is not None:
        page = render_sample(sample).encode()
        write_atomically(Path(html), lambda file: file.write(page))
    return sample


def _refuse_useless(dataset: Path, config: PrepConfig, count: int, html: str | Path | None) -> None:
    if count < 1:
        raise UserError(f"a sample of {count} items is asked for; it must be at least 1")
    if not config.caption:
        raise UserError(
            f"{dataset}: no captions are configured, so there is nothing to sample; "
            "--caption.NAME.model MODEL makes some"
        )
    if html is not None and Path(html).is_dir():
        raise UserError(f"{html}: is a folder; give the page a file name, such as {PAGE}")


def _items(data: Dataset, places: list[int]) -> list[SampledItem]:
    chosen = data.items.select(["item_id", "title"]).take(pa.array(places, pa.int64())).to_pylist()
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
    """Some columns of a media table for each id; empty where it has no row, or the dataset no such table."""
    if not Table(data.path / name).exists():
        return [{} for _ in ids]
    table: pa.Table = getattr(data, name)
    places = pc.index_in(pa.array(ids, pa.string()), table.column("item_id")).to_pylist()
    pictures = table.select(columns)
    # One by one: a take over gigabytes of mapped shards would first join them in memory.
    return [{} if place is None else pictures.slice(place, 1).to_pylist()[0] for place in places]


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


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _words(caption: SampledCaption) -> str:
    if caption.status == "ok":
        return _line(caption.text or "")
    return _line(f"({caption.status}) {caption.message}")


def _line(text: str) -> str:
    """A text on one line, harmless to terminals."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _wrapped(begin: str, text: str) -> list[str]:
    rest = " " * len(begin)
    return textwrap.wrap(text, COLUMNS, initial_indent=begin, subsequent_indent=rest)
