"""Sampled items with their captions, and their text form."""

import re
import textwrap
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from toolkit.console.progress import duration
from toolkit.measures import number

COLUMNS = 100  # width of the text


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # characters that could move a terminal's cursor


class SampledItem(NamedTuple):
    """An item with the inputs of the models.

    Args:
        item_id: id of the item.
        title: title, which may be empty.
        cover: JPEG; None if the item has no cover.
        frames: JPEGs in time order; empty if the item has no frames.
        pts_seconds: time of each frame; None if unknown.
    """

    item_id: str
    title: str
    cover: bytes | None
    frames: list[bytes]
    pts_seconds: list[float] | None


class SampledCaption(NamedTuple):
    """The row of an item that `caption` would write into `captions/NAME/`.

    Args:
        text: the caption, even if it has a flaw; None if there is none.
        status: `ok`, or the status of a failure.
        message: description of the failure; None for ok.
    """

    text: str | None
    status: str
    message: str | None


@dataclass(frozen=True)
class SampledCaptions:
    """The captions of one name.

    Args:
        name: name of the captions.
        about: settings of the captions, as `dataset.json` would record them: model, revision, prompt, ...
        prompt: text of the prompt with unfilled slots.
        captions: one caption per sampled item, in order.
        known: number of captions from the cache.
        asked: number of requests to the model; equal requests count once, here and in `known`.
        seconds: total time.
        working_seconds: time since the model was ready for requests, without loading it.
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
        """Average time per caption; None if the model received no request."""
        return self.working_seconds / self.asked if self.asked else None


@dataclass(frozen=True)
class Sample:
    """Sampled items and their captions. `str()` formats them for a terminal.

    Args:
        dataset: name of the dataset.
        item_count: number of items in the dataset.
        items: the sampled items.
        names: the captions of each name.
    """

    dataset: str
    item_count: int
    items: list[SampledItem]
    names: list[SampledCaptions]

    def took(self, captions: SampledCaptions) -> str:
        """A sentence on the time of the sample and the sources of the captions."""
        return (
            f"{number(len(self.items), 'item')} in {_time(captions.seconds)}: "
            f"{captions.asked:,} from the model, {captions.known:,} from the cache"
        )

    def outlook(self, captions: SampledCaptions) -> str:
        """A sentence on the estimated time for all items."""
        pace = captions.seconds_per_caption
        if pace is None:
            return "the model received no request, so its speed is unknown"
        return (
            f"all {number(self.item_count, 'item')} would take about {_time(pace * self.item_count)} "
            "at this speed, or less because the first batches are slower"
        )

    def __str__(self) -> str:
        width = max(len(captions.name) for captions in self.names)
        lines: list[str] = []
        for index, item in enumerate(self.items):
            lines.append(f"{_line(item.item_id)}  {_line(item.title)}".rstrip())
            for captions in self.names:
                begin = f"  {captions.name:<{width}}  "
                lines += _wrapped(begin, _shown(captions.captions[index]))
        for captions in self.names:
            model = f"{captions.about['model']}, prompt {captions.about['prompt']}"
            lines += ["", f"{captions.name}: {model}"]
            lines += [f"  {self.took(captions)}", f"  {self.outlook(captions)}"]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The sample without pictures, as JSON values."""
        items = [{"item_id": item.item_id, "title": item.title} for item in self.items]
        return {**asdict(replace(self, items=[])), "items": items}


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _shown(caption: SampledCaption) -> str:
    if caption.status == "ok":
        return _line(caption.text or "")
    return _line(f"({caption.status}) {caption.message}")


def _line(text: str) -> str:
    """A text on one line without control characters."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _wrapped(begin: str, text: str) -> list[str]:
    rest = " " * len(begin)
    return textwrap.wrap(text, COLUMNS, initial_indent=begin, subsequent_indent=rest)
