"""A sample of captions: equal to the rows of a full run, and not stored."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_captioner import FakeCaptioner

import prep
from prep import CaptionConfig, PrepConfig, Sample
from prep.captioners.sampled import SampledCaption, SampledCaptions, SampledItem
from prep.reporting.samples import render_sample
from prep.steps import manifest
from toolkit import UserError, open_dataset, schema
from toolkit.store import Table

EVIL = "<script>alert(\"x\")</script> & 'y' \x1b[31m"
TITLES = f'item,title\na,one\nb,"{EVIL.replace(chr(34), chr(34) * 2)}"\nc,three\nd,four\ne,five\n'
SAYS = {  # by the picture: what the model says
    b"cover a": "a red dog",
    b"cover b": EVIL,
    b"cover c": "",
    b"cover d": None,  # it stumbles
    b"frame 1": "a dog that runs",
    b"frame 2": "go " * 30,
}


@pytest.fixture
def captioner(monkeypatch) -> FakeCaptioner:
    """One model for all that is configured."""
    fake = FakeCaptioner(lambda request: SAYS[request.payload.frames[0]], batch_size=1)
    monkeypatch.setattr("prep.captioners.captioning.load_captioner", lambda config: fake)
    return fake


@pytest.fixture
def config(tmp_path) -> PrepConfig:
    (tmp_path / "mine.txt").write_text("What is {title}?\n<b>Say it.</b>")
    image = CaptionConfig(model="fake/model", prompt=str(tmp_path / "mine.txt"))
    video = CaptionConfig(model="fake/model", source="frames")
    caption = {"image_caption": image, "video_caption": video}
    return PrepConfig(caption=caption, caption_cache=str(tmp_path / "cache"))


@pytest.fixture
def dataset(write_microlens, tmp_path) -> Path:
    """Five items: e has no cover, a and b have clips, c has one of which nothing could be decoded."""
    out = tmp_path / "out"
    prep.ingest(write_microlens(titles=TITLES), out)
    covers = [{"item_id": i, "image": f"cover {i}".encode(), "status": "ok"} for i in "dcba"]
    covers.append({"item_id": "e", "image": None, "status": "missing"})
    clips = [
        clip("b", [b"frame 2"], None),
        clip("a", [b"frame 1", b"frame 3"], [0.5, 1.25]),
        {"item_id": "c", "status": "corrupt"},
    ]
    for name, rows in {"covers": covers, "frames": clips}.items():
        expected = getattr(schema, name.upper())
        Table(out / name).append(pa.Table.from_pylist(rows, schema=expected))
        manifest.record_step(out, name, {"px": 7})
    return out


def clip(item_id: str, frames: list[bytes], times: list[float] | None) -> dict[str, Any]:
    return {"item_id": item_id, "frames": frames, "pts_seconds": times, "status": "ok"}


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sample_is_what_a_full_run_stores(dataset, config, captioner):
    found = prep.sample_captions(dataset, config)
    asked = len(captioner.asked)
    prep.caption(dataset, config)
    for names in found.names:
        rows = {
            row["item_id"]: row for row in open_dataset(dataset).captions(names.name).to_pylist()
        }
        for item, caption in zip(found.items, names.captions, strict=True):
            row = rows[item.item_id]
            assert (caption.text, caption.status) == (row["text"], row["status"])
    said = [(caption.status, caption.text) for caption in found.names[0].captions]
    assert said[0] == ("ok", "a red dog") and said[2:] == [
        ("empty", None),
        ("unsupported", None),
        ("missing", None),
    ]
    # Of six pictures, three captions are good: the others are what the full run asks for once more.
    assert (asked, len(captioner.asked) - asked) == (6, 3)


def test_a_sample_stores_nothing_in_the_dataset(dataset, config, captioner, tmp_path):
    before = files(dataset)
    prep.sample_captions(dataset, config, html=tmp_path / "look" / "page.html")
    assert files(dataset) == before
    assert (tmp_path / "look" / "page.html").is_file()


def test_the_same_items_every_time_and_the_second_time_from_the_cache(dataset, config, captioner):
    first, second = (prep.sample_captions(dataset, config, count=2) for _ in range(2))
    assert [item.item_id for item in first.items] == ["b", "d"]  # the middles of two parts of five
    assert second.items == first.items
    image, video = second.names
    assert (image.known, image.asked) == (1, 1)  # d failed, so it is asked again
    assert (video.known, video.asked) == (0, 1)  # b repeats itself, and d has no clip
    assert [names.captions for names in second.names] == [names.captions for names in first.names]


def test_items_come_with_all_that_is_shown(dataset, config, captioner):
    items = prep.sample_captions(dataset, config).items
    assert items[0] == SampledItem("a", "one", b"cover a", [b"frame 1", b"frame 3"], [0.5, 1.25])
    assert items[1][2:] == (b"cover b", [b"frame 2"], None)
    assert items[2][2:] == (b"cover c", [], None)
    assert items[4] == SampledItem("e", "five", None, [], None)


def test_covers_alone_are_enough_for_captions_of_covers(dataset, config, captioner):
    (dataset / "frames" / "part-00000.arrow").unlink()
    alone = PrepConfig(caption={"said": config.caption["image_caption"]})
    found = prep.sample_captions(dataset, alone, count=1)
    assert found.items[0].frames == [] and found.names[0].captions[0].status == "empty"


def by_hand() -> Sample:
    items = [
        SampledItem("a", "one\x1b[31m\n  two", b"\xff\xd8cover", [b"f1", b"f2"], [0.5, 1.25]),
        SampledItem("b<i>", "", None, [b"f3"], None),
        SampledItem("c", EVIL, None, [], None),
    ]
    about = {"model": "m", "revision": "r&1", "prompt": "image-rec@2", "max_new_tokens": 9}
    image = SampledCaptions(
        "image",
        about,
        "Say <b>{title}</b>",
        [
            SampledCaption("a red dog " * 11, "ok", None),
            SampledCaption(None, "missing", "no cover is stored"),
            SampledCaption("go <i>go", "corrupt", "the model repeats itself: 'go '"),
        ],
        known=0,
        asked=2,
        seconds=20.0,
        working_seconds=3.0,
    )
    video = SampledCaptions(
        "video_x", about, "?", [SampledCaption("ok", "ok", None)] * 3, 3, 0, 1, 1
    )
    return Sample("data <b>", 4000, items, [image, video])


def test_a_sample_as_text():
    assert str(by_hand()).splitlines() == [
        "a  one [31m two",
        "  image    " + " ".join(["a red dog"] * 9),  # 11 + 9 × 10 - 1 = 100 columns
        "           a red dog a red dog",
        "  video_x  ok",
        "b<i>",
        "  image    (missing) no cover is stored",
        "  video_x  ok",
        "c  <script>alert(\"x\")</script> & 'y' [31m",
        "  image    (corrupt) the model repeats itself: 'go '",
        "  video_x  ok",
        "",
        "image: m, prompt image-rec@2",
        "  3 items in 20 s: 2 from the model, 0 from the cache",
        # 3 s of work for 2 captions: 1.5 s each, 6,000 s for 4,000
        "  all 4,000 items would take about 1 h 40 min at this speed, or less because the first batches are slower",
        "",
        "video_x: m, prompt image-rec@2",
        "  3 items in 1.0 s: 0 from the model, 3 from the cache",
        "  the model received no request, so its speed is unknown",
    ]


def test_a_pace_leaves_out_loading(dataset, config, captioner, monkeypatch):
    """By a clock that only the model moves: loading takes 100 s, a caption 2 s."""
    clock, say = [0.0], captioner.say
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(captioner, "check", lambda: clock.append(clock.pop() + 100))
    monkeypatch.setattr(captioner, "say", lambda r: clock.append(clock.pop() + 2) or say(r))
    found = prep.sample_captions(dataset, config, count=5).names[0]
    assert found.asked == 4
    assert (found.seconds, found.seconds_per_caption) == (108.0, 2.0)


class Page(HTMLParser):
    """Checks that tags nest; keeps the text, the pictures and what follows each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.pictures: list[tuple[bytes, str | None]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag == "img":
            about = dict(attrs)
            kind, _, data = str(about["src"]).partition(",")
            assert kind == "data:image/jpeg;base64"
            self.pictures.append((base64.b64decode(data), about["alt"]))
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_sample_as_a_page():
    text = render_sample(by_hand())
    page = Page(text)
    assert page.pictures == [
        (b"\xff\xd8cover", "cover"),
        (b"f1", "frame at 0.50 s"),
        (b"f2", "frame at 1.25 s"),
        (b"f3", "frame 1"),
    ]
    for words in (
        *("data <b>", "r&1", "image-rec@2", "Say <b>{title}</b>", "max_new_tokens 9"),
        *("3 items in 20 s", "about 1 h 40 min", "No title", "No pictures."),
        *("missing no cover is stored", "corrupt the model repeats itself: 'go '\ngo <i>go", EVIL),
    ):
        assert words in page.text
    assert "<script" not in text and not {"script", "link", "b", "i", "iframe"} & page.seen
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_a_page_of_a_dataset_shows_each_item_once(dataset, config, captioner, tmp_path):
    prep.sample_captions(dataset, config, html=tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [jpeg for jpeg, _ in page.pictures] == [
        *(b"cover a", b"frame 1", b"frame 3", b"cover b", b"frame 2", b"cover c", b"cover d")
    ]
    assert "What is {title}?\n<b>Say it.</b>" in page.text
    assert "not captioned: RuntimeError: out of memory" in page.text
    assert "px 7" in page.text  # how covers were stored


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "the sample size is 0; it must be at least 1"),
        (
            {"config": PrepConfig()},
            "no model is configured for captions, so there is nothing to sample",
        ),
        ({"html": "."}, "is a folder; give a file name for the page, such as captions-sample.html"),
    ],
)
def test_mistakes_are_said_before_a_model_is_asked(dataset, config, captioner, options, message):
    with pytest.raises(UserError, match=message):
        prep.sample_captions(dataset, **{"config": config} | options)
    assert captioner.asked == []


def test_without_pictures_nothing_is_asked(write_microlens, config, captioner, tmp_path):
    prep.ingest(write_microlens(), tmp_path / "bare")
    with pytest.raises(UserError, match="covers are not stored yet; run prep media first"):
        prep.sample_captions(tmp_path / "bare", config)
    assert captioner.asked == []
