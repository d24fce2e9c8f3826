"""A few items and what the models say of them."""

import re
import textwrap
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from toolkit.console.progress import duration
from toolkit.measures import number

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
