"""The report of a dataset: every number is counted by hand from the dump below."""

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import prep
from prep import MediaConfig, PrepConfig
from prep.cli import main
from prep.reporting import failures, findings, plots, shapes
from prep.reporting.interactions import describe_interactions, whole_users
from prep.reporting.published import RELEASES, compare, recognise
from prep.steps import manifest, problems
from prep.steps.problems import Problem
from toolkit import UserError, open_dataset, schema
from toolkit.json_files import read_json, write_json
from toolkit.splits import make_splits
from toolkit.store import Table, write_table

NEW_YEAR = 1_577_836_800_000  # 2020-01-01T00:00:00Z in milliseconds
EVIL = "<script>alert(\"x\")</script> & 'y'"
TITLES = f'item,title\na,same\nb,same\nc,"{EVIL.replace(chr(34), chr(34) * 2)}"\nd, \ne,five\na,again\n../x,evil\n'
# u has a and b twice, and c twice at the time of b; v has four known items; w comes back to a.
TIMES = {
    "u": [("a", 0), ("b", 1), ("a", 2), ("b", 3), ("c", 3), ("c", 3)],
    "v": [("a", 10), ("b", 11), ("c", 12), ("d", 13), ("q", 14)],
    "w": [("a", 20), ("b", 21), ("c", 22), ("d", 23), ("a", 24)],
}
LIKES = "a\t5\t3\nb\t1\t2\nc\t-1\t0\n"
# 1970 in milliseconds; the year 51970 in milliseconds of milliseconds.
SECONDS, MICROSECONDS = NEW_YEAR // 1000, NEW_YEAR * 1000


def pairs(start: int = NEW_YEAR) -> str:
    rows = [f"{u},{item},{start + t}\n" for u, events in TIMES.items() for item, t in events]
    return "user,item,timestamp\n" + "".join(rows)


@pytest.fixture
def ingested(write_microlens, tmp_path) -> Callable[..., Path]:
    """Ingests the dump above, or what is changed of it."""

    def ingest(folder: str = "out", **files: str | None) -> Path:
        texts: dict[str, Any] = {"titles": TITLES, "pairs_csv": pairs(), "likes": LIKES} | files
        dump = write_microlens(**{"pairs_tsv": None} | texts)
        prep.ingest(dump, tmp_path / folder, PrepConfig(name="small"))
        return tmp_path / folder

    return ingest


def put_table(dataset: Path, name: str, expected: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Writes a media table by hand, its errors too, as its step would have."""
    told = [Problem(r["item_id"], r["status"], "why") for r in rows if r["status"] != "ok"]
    path = dataset / "errors" / f"{name}-00000.arrow"
    write_table(path, problems.table(name, told), compression="zstd")
    Table(dataset / name).append(pa.Table.from_pylist(rows, schema=expected))
    manifest.record_step(dataset, name, {})


def cover(item_id: str, status: str, image: bytes | None = None, **more: Any) -> dict[str, Any]:
    size = {"width_px": 30, "height_px": 20} if image else {}
    return {"item_id": item_id, "status": status, "image": image, **size, **more}


def clip(item_id: str, status: str, frames: list[bytes], seconds: float) -> dict[str, Any]:
    about = {"frames": frames, "duration_seconds": seconds, "fps": 25.0} if frames else {}
    return {"item_id": item_id, "status": status, **about}


def put_media(dataset: Path) -> None:
    covers = [cover("a", "ok", b"1"), cover("b", "ok", b"1"), cover("c", "missing")]
    covers += [cover("d", "empty"), cover("e", "ok", b"2")]
    put_table(dataset, "covers", schema.COVERS, covers)
    clips = [clip("a", "ok", [b"1", b"2"], 2.0), clip("b", "ok", [b"1", b"2"], 2.0)]
    clips += [clip("c", "truncated", [b"1"], 5.0), clip("d", "missing", [], 0)]
    clips += [clip("e", "timeout", [], 0)]
    put_table(dataset, "frames", schema.FRAMES, clips)


def put_captions(
    dataset: Path,
    told: dict[str, tuple[str, str | None]],
    cut: dict[str, int] | None = None,
    **config: Any,
) -> None:
    """Writes captions of covers by hand: status and text by item."""
    made_by = {"model": "m", "revision": "r", "prompt_hash": "p"}
    rows = [{"item_id": i, "status": s, "text": t, **made_by} for i, (s, t) in told.items()]
    bad = [Problem(i, status, "why") for i, (status, _) in told.items() if status != "ok"]
    path = dataset / "errors" / "caption-said-00000.arrow"
    write_table(path, problems.table("caption:said", bad), compression="zstd")
    Table(dataset / "captions" / "said").append(pa.Table.from_pylist(rows, schema=schema.CAPTIONS))
    about = {"source": "cover", "model": "m", "revision": "r", "prompt": "image-plain@1"}
    manifest.record_step(dataset, "caption:said", about | config, **({"cut": cut} if cut else {}))


@pytest.fixture
def facts(ingested) -> dict[str, Any]:
    dataset = ingested()
    put_media(dataset)
    return prep.report(dataset)


def kinds(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["severity"], finding["kind"]) for finding in facts["verdict"]]


def finding(facts: dict[str, Any], kind: str) -> str:
    (found,) = (f for f in facts["verdict"] if f["kind"] == kind)
    return f"{found['what']}; {found['advice']}"


def test_the_verdict_names_every_defect_worst_first(facts):
    assert kinds(facts) == [
        ("warning", "failed"),
        ("warning", "failed"),
        ("warning", "duplicate_id"),
        ("warning", "unknown_item"),
        ("warning", "unsafe"),
        ("warning", "negative_counts"),
        ("warning", "identical_interactions"),
        ("note", "empty"),
        ("note", "too_few_interactions"),
        ("note", "likes_above_views"),
        ("note", "repeated_items"),
        ("note", "simultaneous"),
        ("note", "identical_titles"),
        ("note", "identical_covers"),
        ("note", "identical_frames"),
        ("note", "never_seen"),
    ]
    assert [f["what"] for f in facts["verdict"] if f["kind"] == "failed"] == [
        "Table covers: 2 of 5 items not ok (1 empty, 1 missing)",
        "Table frames: 3 of 5 items not ok (1 missing, 1 timeout, 1 truncated)",
    ]
    assert finding(facts, "unknown_item").startswith(
        "1 interaction left out, because its item is not in the dump (1 item); "
    )
    assert finding(facts, "repeated_items").startswith("2 users with an item more than once; ")


def test_interactions_are_counted(facts):
    assert facts["counts"] == {"users": 3, "items": 5, "interactions": 6 + 4 + 5}
    assert facts["sequences"] == {
        "users": 3,
        "interactions": 15,
        "length": {"min": 4, "median": 5, "mean": 5.0, "p95": 6, "max": 6},
        "users_below_5": 1,
        "share_below_5": round(1 / 3, 6),
        "histogram": [
            {"first": n, "last": n, "users": users}
            for n, users in {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1}.items()
        ],
    }
    popularity = facts["popularity"]  # a 5, b 4, c 4, d 2, e 0
    assert popularity["curve"] == [[1, 5], [2, 4], [3, 4], [4, 2]]
    assert (popularity["items_never_seen"], popularity["share_never_seen"]) == (1, 1 / 5)
    assert popularity["share_of_top_10_percent"] == round(5 / 15, 6)
    assert popularity["gini"] == round(2 * (2 * 2 + 3 * 4 + 4 * 4 + 5 * 5) / (5 * 15) - 6 / 5, 6)
    # u and w; a, b, c of u and d of w
    assert facts["splits"] | {"users": 2, "items": 4, "interactions": 11} == facts["splits"]


def test_repetitions_are_listed_with_ids(facts):
    repetitions = facts["repetitions"]
    time = NEW_YEAR + 3
    assert repetitions["identical"] == {
        "groups": 1,
        "interactions": 2,
        "users": 1,
        "listed": [{"user_id": "u", "item_id": "c", "timestamp_ms": time, "interactions": 2}],
    }
    assert repetitions["repeated_items"] == {
        "groups": 4,
        "interactions": 8,
        "users": 2,
        "listed": [
            {"user_id": user, "item_id": item, "interactions": 2}
            for user, item in [("u", "a"), ("u", "b"), ("u", "c"), ("w", "a")]
        ],
    }
    assert repetitions["simultaneous"] == {
        "groups": 1,
        "interactions": 3,
        "users": 1,
        "listed": [{"user_id": "u", "timestamp_ms": time, "interactions": 3}],
    }


def test_items_and_media_are_described(facts):
    assert facts["titles"]["empty"] == 1
    assert facts["titles"]["characters"]["max"] == len(EVIL)
    assert facts["likes_and_views"] == {
        "items": 3,
        "likes_above_views": {"count": 1, "listed": [{"item_id": "a", "likes": 5, "views": 3}]},
        "negative": {"count": 1, "listed": [{"item_id": "c", "likes": -1, "views": 0}]},
    }
    assert facts["covers"]["sizes"] == {
        "distinct": 1,
        "most_common": [{"width_px": 30, "height_px": 20, "items": 3}],
    }
    assert facts["frames"]["duration_seconds"]["median"] == 2.0
    assert facts["frames"]["frames"]["min"] == 1
    same = {"groups": 1, "items": 2}
    same["listed"] = [{"items": 2, "title": "same", "item_ids": ["a", "b"]}]
    assert facts["duplicates"] == {"titles": same, "covers": same, "frames": same}


def test_failures_come_by_step_with_ids_and_messages(facts):
    found = [(f["step"], f["error_class"], f["count"]) for f in facts["failures"]]
    assert found == [
        *(("ingest", word, 1) for word in ("duplicate_id", "empty", "too_few_interactions")),
        *(("ingest", word, 1) for word in ("unknown_item", "unsafe")),
        *(("covers", word, 1) for word in ("empty", "missing")),
        *(("frames", word, 1) for word in ("missing", "timeout", "truncated")),
    ]
    (missing,) = (
        f for f in facts["failures"] if f["error_class"] == "missing" and f["step"] == "covers"
    )
    assert missing["listed"] == [{"item_id": "c", "message": "why"}]


def test_millions_of_errors_are_counted_and_the_first_listed(ingested, monkeypatch):
    dataset = ingested()
    monkeypatch.setattr(failures, "LISTED", 3)
    for shard in (1, 2):  # numbers go down, as shards may come in any order
        ids = [str(number) for number in range(30 - 10 * shard, 20 - 10 * shard, -1)]
        told = problems.table("ingest", [Problem(id_, "other_title", f"of {id_}") for id_ in ids])
        path = dataset / "errors" / f"ingest-{shard:05d}.arrow"
        write_table(path, told, compression="zstd")
    found = failures.describe_failures(open_dataset(dataset))[0]
    assert (found["error_class"], found["count"], found["items"]) == ("other_title", 20, 20)
    assert [row["item_id"] for row in found["listed"]] == ["1", "2", "3"]


def test_every_class_of_errors_is_told(write_microlens, tmp_path):
    # 2-core of u: a b, v: a b, w: a c -> c has one, so w keeps one, so both are left out
    dump = write_microlens(
        titles="item,title\na,one\nb,two\nc,three\n", pairs_tsv="u\ta b\nv\ta b\nw\ta c\n"
    )
    prep.ingest(dump, tmp_path / "out", PrepConfig(k_core=2))
    told = [Problem("a", "odd", "?"), Problem("b", "odd", "?")]
    path = tmp_path / "out" / "errors" / "later-00000.arrow"
    write_table(path, problems.table("later", told), compression=None)
    found = prep.report(tmp_path / "out")
    assert finding(found, "outside_core").startswith(
        "2 users and items outside the k-core, left out; "
    )
    assert finding(found, "odd").startswith("2 rows with odd at step later; ")


def test_equal_files_are_known_by_their_digests(ingested):
    dataset = ingested()
    digest = {"a": ("x", 9), "b": ("y", 9), "c": ("x", 9), "d": ("0", 0), "e": ("0", 0)}
    rows = [
        cover(id_, "ok", b"1", source_sha256=sha, source_bytes=size)
        for id_, (sha, size) in digest.items()
    ]
    put_table(dataset, "covers", schema.COVERS, rows)
    found = prep.report(dataset)["duplicates"]
    assert [group["item_ids"] for group in found["covers"]["listed"]] == [["a", "c"]]
    assert found["frames"] is None


def test_equal_datasets_have_equal_reports(ingested):
    first, second = ingested("one"), ingested("two")
    names = {path.name for path in first.iterdir()}
    for dataset in (first, second, second):  # a rerun changes nothing
        prep.report(dataset)
    for name in ("report.json", "report.html"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert {path.name for path in second.iterdir()} == names | {"report.json", "report.html"}


def test_the_order_of_shards_does_not_matter(ingested):
    dataset = ingested()
    put_media(dataset)
    prep.report(dataset)
    before = (dataset / "report.json").read_bytes()
    rows = Table(dataset / "covers").read()
    Table(dataset / "covers").replace(0, rows.take(pa.array([4, 2, 0, 3, 1])))
    prep.report(dataset)
    assert (dataset / "report.json").read_bytes() == before


class Tags(HTMLParser):
    """Checks that tags nest, and keeps the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(dataset: Path) -> tuple[str, Tags]:
    page = (dataset / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return page, tags


def test_what_a_dump_says_is_escaped(ingested):
    titles = TITLES.replace("a,same\nb,same\n", "a,<b>&amp;</b>\nb,<b>&amp;</b>\n")
    dataset = ingested(titles=titles)
    rows = [cover(id_, "corrupt") for id_ in "abde"] + [cover("c", "ok", b"1")]
    put_table(dataset, "covers", schema.COVERS, rows)
    path = dataset / "errors" / "covers-00000.arrow"
    write_table(path, problems.table("covers", [Problem("a", "corrupt", EVIL)]), compression=None)
    write_json(dataset / "dataset.json", manifest.require(dataset) | {"name": "<i>named</i>"})
    prep.report(dataset)
    page, tags = read_page(dataset)
    assert EVIL in tags.text and "<b>&amp;</b>" in tags.text
    assert "<script" not in page and "<b>" not in page and "&lt;script&gt;" in page
    assert not {"script", "i", "b"} & tags.seen


def test_the_page_needs_nothing_else(ingested):
    dataset = ingested()
    put_media(dataset)
    prep.report(dataset)
    page, tags = read_page(dataset)
    assert not {"script", "link", "img", "iframe"} & tags.seen
    assert "http" not in page and "url(" not in page and "@import" not in page
    headings = [part.split("</h2>")[0] for part in page.split("<h2>")[1:]]
    assert headings[:3] == ["Verdict", "Counts", "Problems"] and headings[-1] == "Inputs and steps"
    for entry in read_json(dataset / "report.json")["inputs"].values():
        assert entry["sha256"] in tags.text


def test_captions_are_described(ingested):
    dataset = ingested()
    put_media(dataset)  # c and d have no cover, so a model was shown a, b and e
    said = {"a": ("ok", "a dog"), "b": ("ok", "ein Hündchen"), "c": ("missing", None)}
    put_captions(dataset, said | {"d": ("empty", None), "e": ("corrupt", "dog dog dog")})
    found = prep.report(dataset)
    assert found["captions"] == [
        {
            "name": "said",
            "source": "cover",
            "model": "m",
            "revision": "r",
            "prompt": "image-plain@1",
            "ok": 2,
            "distinct": 2,
            "asked": 3,
            "failed": 1,
            "cut": 0,
            "characters": {"min": 5, "median": 5, "mean": 8.5, "p95": 12, "max": 12},
            "most_common": [{"text": "a dog", "items": 1}, {"text": "ein Hündchen", "items": 1}],
        }
    ]
    assert finding(found, "model_fails").startswith(
        "Captions said: the model failed on 1 of 3 items; look at a sample"
    )
    (table,) = (f for f in found["verdict"] if "Table captions/said" in f["what"])
    assert table["what"].endswith("3 of 5 items not ok (1 corrupt, 1 empty, 1 missing)")
    assert "--retry-failed" in table["advice"]
    assert "ein Hündchen" in read_page(dataset)[1].text


def test_of_captions_whose_pictures_are_gone_nothing_is_said_that_nobody_can_know(ingested):
    dataset = ingested()
    put_captions(dataset, dict.fromkeys("abcde", ("empty", None)), source="frames")
    (entry,) = prep.report(dataset)["captions"]
    assert (entry["asked"], entry["failed"]) == (None, None)
    assert (entry["ok"], entry["characters"], entry["most_common"]) == (0, None, [])


def test_pages_tell_the_browser_to_run_and_load_nothing(facts, ingested, tmp_path):
    page = (tmp_path / "out/report.html").read_text()
    (policy,) = re.findall(r'<meta HTTP-EQUIV="Content-Security-Policy" content="([^"]*)">', page)
    assert policy.startswith("default-src 'none'; ") and "script" not in policy
    assert page.index("Content-Security-Policy") < page.index("<title>")
    assert "<script" not in page and EVIL not in page


def test_captions_that_are_configured_and_not_made_are_said(ingested):
    dataset = ingested()
    manifest.record_config(dataset, caption={"said": {}})
    found = prep.report(dataset)
    assert found["captions"] == []
    tables = [f["what"] for f in found["verdict"] if f["kind"] == "not_begun"]
    assert "Table captions/said has not been started" in tables
    assert "<h2>Captions" not in read_page(dataset)[0]


def captioned(
    ingested: Callable[..., Path], texts: list[str | None], cut: dict[str, int] | None = None
) -> dict[str, Any]:
    """The report on as many items as texts, all with covers; None is a caption that failed."""
    ids = [f"i{number}" for number in range(len(texts))]
    titles = "item,title\n" + "".join(f"{id_},t{id_}\n" for id_ in ids)
    dataset = ingested(titles=titles, pairs_csv="user,item,timestamp\nu,i0,1\n", likes=None)
    put_table(dataset, "covers", schema.COVERS, [cover(i, "ok", i.encode()) for i in ids])
    told = {i: ("ok" if t else "empty", t) for i, t in zip(ids, texts, strict=True)}
    put_captions(dataset, told, cut)
    return prep.report(dataset)


@pytest.mark.parametrize(
    ("same", "others", "is_said"),
    [
        (22, 188, True),  # 22 / 210 > 10 %
        (21, 189, False),  # 21 / 210 = 10 %
        (20, 0, False),  # all of them, and no more than 20
        (21, 0, True),
        (
            10,
            289,
            False,
        ),  # of prep synth's 300 covers by the tiny VLM: 72 texts, one of them ten times
    ],
)
def test_a_model_that_says_one_thing_of_everything_is_suspected(ingested, same, others, is_said):
    found = captioned(ingested, ["same"] * same + [f"text {number}" for number in range(others)])
    assert found["captions"][0]["most_common"][0] == {"text": "same", "items": same}
    assert (("warning", "same_caption") in kinds(found)) == is_said
    if is_said:
        expected = f"Captions said: {same} of {same + others} are the same text, so the model may"
        assert finding(found, "same_caption").startswith(expected)


@pytest.mark.parametrize(("failed", "is_said"), [(5, False), (6, True)])  # of 100: more than 5 %
def test_a_model_that_fails_often_is_said(ingested, failed, is_said):
    found = captioned(ingested, [None] * failed + [f"t{number}" for number in range(100 - failed)])
    assert (("warning", "model_fails") in kinds(found)) == is_said


@pytest.mark.parametrize(
    ("cut", "severity"),
    [
        (None, None),
        ({"shortened": 0, "flagged": 0}, None),
        ({"shortened": 4, "flagged": 1}, "note"),  # of 100: 5 %
        ({"shortened": 5, "flagged": 1}, "warning"),
    ],
)
def test_the_verdict_names_captions_that_the_token_limit_cut(ingested, cut, severity):
    found = captioned(ingested, [f"text {number}" for number in range(100)], cut)
    assert [s for s, kind in kinds(found) if kind == "cut_captions"] == [severity] * bool(severity)
    if severity:
        expected = f"Captions said: max_new_tokens cut {sum(cut.values())} answers; "
        assert finding(found, "cut_captions").startswith(expected)


def test_what_a_model_says_is_escaped(ingested):
    dataset = ingested()
    put_media(dataset)
    put_captions(dataset, dict.fromkeys("abe", ("ok", EVIL)), model=EVIL, prompt=EVIL)
    prep.report(dataset)
    page, tags = read_page(dataset)
    assert tags.text.count(EVIL) >= 3 and "<script" not in page


@pytest.mark.parametrize("start", [SECONDS, MICROSECONDS])
def test_an_implausible_time_unit_is_said(ingested, start):
    found = prep.report(ingested(pairs_csv=pairs(start)))
    assert found["timestamps"]["implausible"] == 15
    sentence = finding(found, "implausible_time")
    assert "their unit is probably wrong" in sentence and "--time_unit" in sentence
    assert ("first 1970-01-19T" if start == SECONDS else "first 51969-") in sentence


def test_times_are_dates(facts):
    assert facts["timestamps"] == {
        "first_ms": NEW_YEAR,
        "last_ms": NEW_YEAR + 24,
        "first": "2020-01-01T00:00:00Z",
        "last": "2020-01-01T00:00:00Z",
        "share_null": 0.0,
        "implausible": 0,
    }


def test_without_times_nothing_is_simultaneous_or_identical(ingested):
    found = prep.report(ingested(pairs_csv=None, pairs_tsv="u\ta b a b a\n"))
    assert found["timestamps"]["share_null"] == 1.0
    assert found["timestamps"]["first"] is None
    assert [found["repetitions"][kind]["groups"] for kind in ("identical", "simultaneous")] == [
        0,
        0,
    ]
    assert found["repetitions"]["repeated_items"]["interactions"] == 5


def test_media_that_are_not_there_are_said(ingested):
    dataset = ingested()
    found = prep.report(dataset)
    assert [f["what"] for f in found["verdict"] if f["kind"] == "not_begun"] == [
        "Table covers has not been started",
        "Table frames has not been started",
    ]
    assert found["covers"] is found["frames"] is found["duplicates"]["covers"] is None
    manifest.record_step(dataset, "covers", {}, skipped="the dump has none")
    manifest.record_step(dataset, "frames", {}, skipped="the dump has none")
    found = prep.report(dataset)
    assert [f["what"] for f in found["verdict"] if f["kind"] == "skipped"] == [
        "Table covers was skipped: the dump has none",
        "Table frames was skipped: the dump has none",
    ]


def test_an_unfinished_table_and_one_without_anything_are_errors(ingested):
    dataset = ingested()
    put_table(dataset, "covers", schema.COVERS, [cover(id_, "missing") for id_ in "abcde"])
    Table(dataset / "frames").append(
        pa.Table.from_pylist([clip("a", "ok", [b"1"], 1.0)], schema=schema.FRAMES)
    )
    found = prep.report(dataset)
    assert [f["what"] for f in found["verdict"] if f["severity"] == "error"] == [
        "Table covers: 5 of 5 items not ok (5 missing)",
        "Table frames is not finished (1 of 5 items)",
    ]


def test_a_dataset_without_interactions_is_an_error(ingested):
    dataset = ingested(likes=None)
    Table(dataset / "interactions").replace(0, schema.INTERACTIONS.empty_table())
    found = prep.report(dataset)
    assert kinds(found)[0] == ("error", "nothing_to_train")
    assert found["sequences"]["length"] is None and found["popularity"]["gini"] is None
    assert "no interactions to draw" in read_page(dataset)[1].text


@pytest.mark.parametrize(
    ("layout", "files", "name"),
    [
        (
            "microlens",
            ["MicroLens-100k_pairs.csv", "MicroLens-100k_title_en.csv"],
            "MicroLens-100k",
        ),
        ("microlens", ["MicroLens-100k_pairs.csv", "MicroLens-50k_titles.csv"], None),
        ("microlens", ["MicroLens-synth_pairs.csv"], None),
        ("table", ["MicroLens-100k_pairs.csv"], None),
        ("ninerec", ["KU_item.csv", "KU_pair.csv"], "NineRec KU"),
        ("ninerec", ["Bili_Food_item.csv", "Bili_Food_pair.csv"], "NineRec Bili_Food"),
        ("amazon", ["my_items.tsv", "my_users.tsv"], None),
        ("microlens", [], None),
    ],
)
def test_a_release_is_recognised_by_its_files(layout, files, name):
    release = recognise(layout, files)
    assert (release and release.name) == name


def test_counts_are_compared_with_the_published_ones():
    (release,) = (r for r in RELEASES if r.name == "MicroLens-50k")
    found = compare(release, {"users": 50_000, "items": 19_000, "interactions": 359_709})
    assert found["counts"]["users"]["difference"] == 0
    assert found["counts"]["items"] == {"published": 19_220, "found": 19_000, "difference": -220}
    assert findings.difference(-220) == "220 missing"
    assert findings.difference(1) == "1 too many"
    assert findings.difference(0) == "equal"


def test_a_release_with_too_few_rows_is_a_warning(write_microlens, tmp_path):
    dump = write_microlens()
    (dump / "M_titles.csv").rename(dump / "MicroLens-50k_titles.csv")
    (dump / "M_pairs.tsv").rename(dump / "MicroLens-50k_pairs.tsv")
    prep.ingest(dump, tmp_path / "out")
    found = prep.report(tmp_path / "out")
    assert "(users 49,999 missing, items 19,218 missing, interactions 359,703 missing)" in finding(
        found, "not_as_published"
    )
    assert "359,703 missing" in read_page(tmp_path / "out")[1].text


def test_scientific_is_as_published(real_data, tmp_path):
    prep.ingest(real_data / "amazon-scientific", tmp_path / "out")
    found = prep.report(tmp_path / "out")
    assert {entry["difference"] for entry in found["published"]["counts"].values()} == {0}
    # REFERENCE: sizes after the paper's truncation, counted from the published files
    sizes = {"users": 12_076, "items": 20_314, "interactions": 81_711}
    assert found["splits"] | sizes == found["splits"]


def random_interactions(seed: int, users: int = 60, items: int = 25) -> pa.Table:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 30, users)
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pa.table(
        {
            "user_id": pa.array(user).cast(pa.string()),
            "user": user,
            "item": generator.integers(1, items + 1, len(user), dtype=np.int32),
            "timestamp_ms": pa.array(NEW_YEAR + np.arange(len(user)) // 3),
            "position": (np.arange(len(user)) - starts).astype(np.int32),
        }
    ).cast(schema.INTERACTIONS)


@pytest.fixture
def sharded(ingested) -> tuple[Path, pa.Table]:
    """A dataset of random interactions whose shards and batches cut users anywhere."""
    titles = "item,title\n" + "".join(f"i{n},t{n}\n" for n in range(25))
    dataset = ingested(titles=titles, pairs_csv="user,item,timestamp\nu,i0,1\n")
    interactions = random_interactions(seed=3)
    shutil.rmtree(dataset / "interactions")
    for start in range(0, interactions.num_rows, 70):
        Table(dataset / "interactions").append(interactions.slice(start, 70))
    return dataset, interactions


def test_users_are_never_cut_and_no_row_is_lost():
    interactions = random_interactions(seed=3)
    chunks = list(whole_users(interactions.to_batches(max_chunksize=17), 50))
    assert len(chunks) > 3
    users = [set(chunk.column("user").to_pylist()) for chunk in chunks]
    assert sum(map(len, users)) == len(set.union(*users))
    assert pa.concat_tables(chunks).equals(interactions)


def test_chunks_do_not_change_what_is_counted(sharded):
    data = open_dataset(sharded[0])
    whole = describe_interactions(data)
    assert describe_interactions(data, chunk_rows=1) == whole
    assert whole["repetitions"]["repeated_items"]["groups"] > 100


def test_interactions_that_are_broken_are_refused(sharded):
    dataset, interactions = sharded
    wrong = interactions.set_column(
        2, schema.INTERACTIONS.field("item"), pc.add(interactions["item"], 9).cast(pa.int32())
    )
    Table(dataset / "interactions").replace(0, wrong)
    with pytest.raises(UserError, match=r"items 1\.\.34 are not all in 1\.\.25; run prep check"):
        describe_interactions(open_dataset(dataset))


def test_the_splits_are_those_that_training_makes(sharded):
    dataset, interactions = sharded
    found = describe_interactions(open_dataset(dataset))["splits"]
    splits = make_splits(interactions, items=25, protocol="paper", max_len=10)
    assert found["users"] == len(splits.user_ids)
    assert found["items"] == len(splits.catalogue)
    assert found["interactions"] == splits.interactions


def test_repetitions_are_those_of_a_plain_count(sharded):
    dataset, interactions = sharded
    found = describe_interactions(open_dataset(dataset))["repetitions"]
    frame = interactions.to_pandas()
    for kind, columns in {
        "identical": ["user", "item", "timestamp_ms"],
        "repeated_items": ["user", "item"],
        "simultaneous": ["user", "timestamp_ms"],
    }.items():
        sizes = frame.groupby(columns).size()
        assert found[kind]["groups"] == (sizes > 1).sum()
        assert found[kind]["interactions"] == sizes[sizes > 1].sum()


def test_a_histogram_gathers_the_long_tail():
    lengths = np.zeros(301, np.int64)
    lengths[5], lengths[6], lengths[300] = 90, 9, 1
    bars = shapes.histogram(lengths)
    assert bars[-2:] == [
        {"first": 6, "last": 6, "users": 9},
        {"first": 7, "last": 300, "users": 1},
    ]
    wide = shapes.histogram(np.repeat([0, 1], [1, 1000]), bars=10)
    assert sum(bar["users"] for bar in wide) == 1000
    assert wide[0] == {"first": 1, "last": 98, "users": 98}  # 98 % of 1,000 in 10 bars
    assert wide[-1] == {"first": 981, "last": 1000, "users": 20}


def test_plots_say_in_words_what_they_show(facts):
    bars = facts["sequences"]["histogram"]
    drawing = ElementTree.fromstring(plots.histogram(bars, quiet_below=5))
    assert drawing.findtext("title") == "Sequence lengths"
    assert "the highest bar holds 1 user." in str(drawing.findtext("desc"))
    rectangles = drawing.findall("rect")
    assert [r.get("class") for r in rectangles] == ["bar quiet"] * 4 + ["bar"] * 2
    assert [float(r.get("height", "")) for r in rectangles[3:]] == [226.0] * 3  # 1 of 1: all of it
    curve = ElementTree.fromstring(plots.popularity(facts["popularity"]["curve"]))
    (line,) = curve.findall("polyline")
    places = [tuple(map(float, point.split(","))) for point in str(line.get("points")).split()]
    assert places[0][0] == plots.LEFT and len(places) == 4
    assert {"interactions", "rank of the item"} <= {text.text for text in curve.findall("text")}


def test_the_command_says_where_and_what(ingested, capsys):
    dataset = ingested()
    capsys.readouterr()
    assert main(["report", str(dataset)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("report: 7 warnings, 7 notes; ") and first.endswith("report.html")
    assert lines[0].startswith("  warning: Table covers has not been started; run prep build again")
    assert len(lines) == 14


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a finished dataset, because it has no dataset\.json"):
        prep.report(tmp_path)


def test_build_ends_with_a_report(own_dump, tmp_path):
    (own_dump / "covers" / next((own_dump / "covers").iterdir()).name).write_bytes(b"")
    media = MediaConfig(workers=1, frame_count=1)
    prep.build(own_dump, tmp_path / "out", PrepConfig(media=media))
    found = read_json(tmp_path / "out" / "report.json")
    assert finding(found, "failed").startswith("Table covers: 1 of 24 items not ok (1 empty)")
    assert found["frames"]["frames"]["max"] == 1
    read_page(tmp_path / "out")
