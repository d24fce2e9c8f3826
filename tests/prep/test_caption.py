"""The caption step: a row for every item, what is captioned again, and invalid input."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from fake_captioner import FakeCaptioner
from tiny_vlms import blip, llava_onevision

import prep
from prep import CaptionConfig, MediaConfig, PrepConfig
from prep.captioners.prompts import load_prompt
from prep.steps import manifest
from toolkit import UserError, open_dataset, schema
from toolkit.store import Table

VLM = "package:prep/synth/tiny_vlm"
COVERS = CaptionConfig(model=VLM, max_new_tokens=24)
CLIPS = replace(COVERS, source="frames")


@pytest.fixture(scope="module")
def stored(spoilt_dump, tmp_path_factory) -> Path:
    """24 items of which two covers and two clips are spoilt; copy it before changing it."""
    out = tmp_path_factory.mktemp("stored") / "data"
    prep.build(spoilt_dump, out, PrepConfig(media=MediaConfig(workers=1)))
    return out


@pytest.fixture
def dataset(stored, tmp_path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "data"))


@pytest.fixture
def config(tmp_path):
    """A configuration with a cache of its own."""

    def make(**captions: CaptionConfig) -> PrepConfig:
        return PrepConfig(caption=captions, caption_cache=str(tmp_path / "cache"))

    return make


@pytest.fixture
def fake(monkeypatch):
    """Has every configured captioner be a fake one."""

    def use(*args, **options) -> FakeCaptioner:
        captioner = FakeCaptioner(*args, **options)
        monkeypatch.setattr("prep.captioners.captioning.load_captioner", lambda config: captioner)
        return captioner

    return use


def rows_of(dataset: Path, name: str) -> dict[str, dict]:
    table = open_dataset(dataset).captions(name).to_pylist()
    rows = {row["item_id"]: row for row in table}
    assert len(rows) == len(table) == 24
    return rows


def errors_of(dataset: Path, step: str) -> dict[str, tuple[str, str]]:
    told = open_dataset(dataset).errors.to_pylist()
    return {
        row["item_id"]: (row["error_class"], row["message"]) for row in told if row["step"] == step
    }


# The bundled model, through the step


def test_every_item_has_a_row_that_says_what_made_it(dataset, config, capsys):
    prep.caption(dataset, config(image_caption=COVERS, video_caption=CLIPS))
    for name, source, table in (
        ("image_caption", "cover", "covers"),
        ("video_caption", "frames", "frames"),
    ):
        rows, told = rows_of(dataset, name), errors_of(dataset, f"caption:{name}")
        pictures = Table(dataset / table).read().select(["item_id", "status"]).to_pylist()
        failed = {row["item_id"]: row["status"] for row in pictures if row["status"] != "ok"}
        assert len(failed) == 2
        for item_id, row in rows.items():
            assert row["status"] == failed.get(item_id, "ok")
            assert (row["text"] is None) == (item_id in failed)
            assert row["model"] == VLM
            plain = "image-plain" if source == "cover" else "video-plain"
            assert row["prompt_hash"] == load_prompt(plain).hash
        assert told.keys() == failed.keys()
        for item_id, (word, message) in told.items():
            assert word == failed[item_id]
            assert f"its {source} is {word} (why: step {table})" in message
        step = manifest.require(dataset)["steps"][f"caption:{name}"]
        assert step["prompt"]["text"] == load_prompt(plain).text
        assert step["items"]["ok"] == 22
        assert {row["revision"] for row in rows.values()} == {step["revision"]}
    assert prep.check(dataset) == []
    assert "0 from the cache, 22 from the model" in capsys.readouterr().out


def test_captions_tell_what_is_to_be_seen(dataset, spoilt_dump, config):
    """They agree with the truth, which prep does not read, far more often than chance."""
    prep.caption(dataset, config(video_caption=CLIPS))
    truth = {
        item["id"]: item for item in json.loads((spoilt_dump / "truth.json").read_text())["items"]
    }
    rows = [row for row in rows_of(dataset, "video_caption").values() if row["status"] == "ok"]
    right = {
        word: sum(truth[row["item_id"]][word] in row["text"] for row in rows)
        for word in ("shape", "colour", "motion")
    }
    assert min(right.values()) >= 18, right  # of 22; chance is 4 to 6


def test_a_rerun_does_nothing_and_another_dataset_asks_the_cache(dataset, stored, config, tmp_path):
    asked = config(image_caption=COVERS)
    prep.caption(dataset, asked)
    before = {path: path.read_bytes() for path in dataset.rglob("*.arrow")}
    prep.caption(dataset, asked)
    assert {path: path.read_bytes() for path in dataset.rglob("*.arrow")} == before

    other = Path(shutil.copytree(stored, tmp_path / "other"))
    prep.caption(other, asked)
    assert rows_of(other, "image_caption") == rows_of(dataset, "image_caption")


# What asks the model, and what does not


def test_two_dumps_with_the_same_covers_need_one_round_of_calls(
    dataset, stored, config, fake, tmp_path
):
    asked = config(image_caption=COVERS)
    first = fake()
    prep.caption(dataset, asked)
    assert len(first.asked) == 22
    other = Path(shutil.copytree(stored, tmp_path / "other"))
    second = fake()
    prep.caption(other, asked)
    assert (second.asked, second.checks) == ([], 0)
    assert rows_of(other, "image_caption") == rows_of(dataset, "image_caption")


def test_another_prompt_is_refused_for_the_old_name_and_asks_the_model_for_a_new_one(
    dataset, config, fake
):
    captioner = fake()
    prep.caption(dataset, config(image_caption=COVERS))
    recommending = replace(COVERS, prompt="image-rec")
    with pytest.raises(
        UserError,
        match=r"captions/image_caption was made with prompt = \"image-plain@\d\".*image-rec.*delete",
    ):
        prep.caption(dataset, config(image_caption=recommending))
    prep.caption(dataset, config(rich=recommending))
    assert len(captioner.asked) == 44
    assert len(set(captioner.asked)) == 2


def test_a_longer_limit_of_characters_asks_nobody_again(dataset, config, fake):
    """The cache keeps what the model said, before it was cut."""
    captioner = fake(lambda request: "A red star. It blinks. " + "It is on a grey ground.")
    prep.caption(dataset, config(a=replace(COVERS, max_characters=22)))
    prep.caption(dataset, config(b=replace(COVERS, max_characters=1000)))
    assert len(captioner.asked) == 22
    texts = [
        {row["text"] for row in rows_of(dataset, name).values() if row["status"] == "ok"}
        for name in "ab"
    ]
    assert texts == [{"A red star. It blinks."}, {"A red star. It blinks. It is on a grey ground."}]


def test_a_title_in_the_prompt_is_the_item_s_own(dataset, config, fake, tmp_path):
    (tmp_path / "mine.txt").write_text("Describe what is called {title}, please.")
    captioner = fake()
    prep.caption(dataset, config(mine=replace(COVERS, prompt=str(tmp_path / "mine.txt"))))
    titles = open_dataset(dataset).items.column("title").to_pylist()
    assert {prompt.split("called ")[1] for prompt in captioner.asked} <= {
        f"{title}, please." for title in titles
    }
    assert len(set(captioner.asked)) > 10


# What models do


def test_flaws_are_told_and_kept_out_of_towers(dataset, config, fake):
    said = ["", "go " * 40, "  \n ", "a red star"]
    order = iter(range(1000))
    captioner = fake(lambda request: said[next(order) % 4], batch_size=1)
    prep.caption(dataset, config(image_caption=COVERS))
    rows, told = rows_of(dataset, "image_caption"), errors_of(dataset, "caption:image_caption")
    words = [row["status"] for row in rows.values()]
    assert {word: words.count(word) for word in set(words)} == {
        "empty": 11,
        "corrupt": 7,  # 6 that repeat and a cover that is none
        "ok": 5,
        "missing": 1,
    }
    messages = {message for _, message in told.values()}
    assert "the answer is empty" in messages
    assert any(message.startswith("the model repeats itself: 'go") for message in messages)
    usable = open_dataset(dataset).source("image_caption").to_pylist()
    assert set(usable) == {None, "a red star"} and usable.count("a red star") == 5
    assert prep.check(dataset) == []

    captioner.say = lambda request: "a dog"
    captioner.calls.clear()
    prep.caption(dataset, config(image_caption=COVERS), retry_failed=True)
    assert len(captioner.asked) == 17  # those without pictures have nothing to be asked about
    words = [row["status"] for row in rows_of(dataset, "image_caption").values()]
    assert words.count("ok") == 22


def test_an_item_that_no_model_call_survives_stands_alone_in_errors(dataset, config, fake):
    covers = Table(dataset / "covers").read()
    killer = covers.filter(pa.compute.equal(covers["status"], "ok")).slice(5, 1).to_pylist()[0]
    fake(lambda r: None if r.payload.frames[0] == killer["image"] else "a dog", batch_size=22)
    prep.caption(dataset, config(image_caption=COVERS))
    told = errors_of(dataset, "caption:image_caption")
    assert told[killer["item_id"]] == (
        "unsupported",
        "not captioned: RuntimeError: out of memory",
    )
    assert len(told) == 3
    assert prep.check(dataset) == []


def test_answers_in_json_are_made_text_or_told(dataset, config, fake):
    whole = (
        '{"topic": "a star", "people_and_actions": "none", "setting": "", "on_screen_text": "", '
        '"mood": "calm", "style": "", "audience": "", "tags": ["star", "red"]}'
    )
    order = iter(range(1000))
    fake(lambda request: whole if next(order) % 2 else whole[:40], batch_size=1)
    prep.caption(dataset, config(rich=replace(COVERS, prompt="image-json")))
    rows = rows_of(dataset, "rich").values()
    texts = [row["text"] for row in rows if row["status"] == "ok"]
    assert texts == ["topic: a star; people and actions: none; mood: calm; tags: star, red"] * 11
    told = errors_of(dataset, "caption:rich").values()
    assert sum("JSON" in message for _, message in told) == 11


# Bad input is told before anything runs


def test_a_model_that_takes_no_video_is_refused_before_the_build_begins(
    synth_dump, tmp_path, config
):
    blip(tmp_path / "blip")
    asked = config(video_caption=replace(CLIPS, model=str(tmp_path / "blip")))
    with pytest.raises(
        UserError, match=r"captions 'video_caption': model .* accepts images but no video"
    ):
        prep.build(synth_dump, tmp_path / "out", asked)
    assert not (tmp_path / "out").exists()


def test_a_prompt_with_an_unknown_slot_is_refused_before_the_build_begins(
    synth_dump, tmp_path, config
):
    (tmp_path / "mine.txt").write_text("Describe {tittle}.")
    asked = config(mine=replace(COVERS, prompt=str(tmp_path / "mine.txt")))
    with pytest.raises(UserError, match=r"captions 'mine': .*slot \{tittle\}.*\{title\}"):
        prep.build(synth_dump, tmp_path / "out", asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["title", "cover", "frames", "../x", "a+b", ""])
def test_names_that_cannot_be(dataset, config, name):
    with pytest.raises(UserError, match=re.escape(f"captions cannot be called {name!r}")):
        prep.caption(dataset, config(**{name: COVERS}))


def test_a_server_that_is_down_is_told_with_its_url_and_nothing_is_lost(dataset, config):
    down = CaptionConfig(captioner="openai", model="m", url="http://127.0.0.1:9/v1", attempts=1)
    with pytest.raises(
        UserError,
        match=r"http://127\.0\.0\.1:9/v1/chat/completions returned no captions.*Finished captions are kept",
    ):
        prep.caption(dataset, config(image_caption=down))
    assert not Table(dataset / "captions" / "image_caption").exists()
    assert errors_of(dataset, "caption:image_caption") == {}
    prep.caption(dataset, config(image_caption=COVERS))
    assert rows_of(dataset, "image_caption")


def test_a_dump_without_videos_says_so(synth_dump, tmp_path, config):
    dump = Path(shutil.copytree(synth_dump, tmp_path / "dump"))
    shutil.rmtree(dump / "videos")
    prep.build(dump, tmp_path / "out", PrepConfig(media=MediaConfig(workers=1)))
    with pytest.raises(
        UserError, match=r"captions of frames are configured, but the dump has none"
    ):
        prep.caption(tmp_path / "out", config(video_caption=CLIPS))


def test_captions_before_media_say_what_comes_first(synth_dump, tmp_path, config):
    prep.ingest(synth_dump, tmp_path / "out")
    with pytest.raises(UserError, match="covers are not stored yet; run prep media first"):
        prep.caption(tmp_path / "out", config(image_caption=COVERS))


def test_frames_of_a_clip_that_was_cut_are_captioned(dataset, config, fake):
    """A truncated clip has fewer frames, which is what the model is shown."""
    table = Table(dataset / "frames").read().to_pylist()
    cut = next(row for row in table if row["status"] == "ok")
    cut |= {"frames": cut["frames"][:2], "pts_seconds": cut["pts_seconds"][:2]}
    cut["status"] = "truncated"
    shutil.rmtree(dataset / "frames")
    Table(dataset / "frames").append(pa.Table.from_pylist(table, schema=schema.FRAMES))
    shown = []
    fake(lambda request: shown.append(len(request.payload.frames)) or "a dog")
    prep.caption(dataset, config(video_caption=CLIPS))
    assert sorted(shown) == [2] + [5] * 21
    assert rows_of(dataset, "video_caption")[cut["item_id"]]["status"] == "ok"


# Wherever it runs


def test_workers_elsewhere_get_what_they_need_and_no_weights(stored, config, tmp_path):
    """What a cluster is sent, by the way it is sent."""
    import pickle

    from prep.captioners.captioning import Captioning

    work = Captioning(stored.absolute(), COVERS, tmp_path / "cache")
    work.prepare()
    sent = pickle.dumps(work)
    assert len(sent) < 2_000
    batch = open_dataset(stored).items.select(["item_id"]).slice(0, 3).to_batches()[0]
    assert pickle.loads(sent)(batch).equals(work(batch))


def test_a_worker_locates_the_pictures_once_for_all_batches(stored, fake, monkeypatch):
    from prep.captioners import captioning

    fake(lambda request: "a dog")
    searches = []
    rows_by_item = captioning.rows_by_item
    monkeypatch.setattr(
        captioning, "rows_by_item", lambda *tables: searches.append(1) or rows_by_item(*tables)
    )
    work = captioning.Captioning(stored.absolute(), COVERS, cache=None)
    batches = open_dataset(stored).items.select(["item_id"]).to_batches(max_chunksize=4)
    assert len(batches) > 1 and sum(work(batch).num_rows for batch in batches) == 24
    assert searches == [1]


def test_another_architecture_goes_through_the_step(dataset, config, tmp_path):
    """Random weights: what it says means nothing, but each row has it, or why it has none."""
    llava_onevision(tmp_path / "vlm")
    asked = CaptionConfig(model=str(tmp_path / "vlm"), source="frames", max_new_tokens=4)
    prep.caption(dataset, config(video_caption=asked))
    rows = rows_of(dataset, "video_caption").values()
    assert sum(row["text"] is not None for row in rows) >= 15
    assert prep.check(dataset) == []


def test_a_captioner_of_ones_own_goes_before_the_configured_model(dataset, config):
    own = FakeCaptioner(lambda request: "said by my own")
    settings = config(image_caption=CaptionConfig(model="no-such-model"))
    prep.caption(dataset, settings, captioners={"image_caption": own})
    said = [row for row in rows_of(dataset, "image_caption").values() if row["status"] == "ok"]
    assert len(said) == 22
    assert {(row["model"], row["text"]) for row in said} == {("fake", "said by my own")}
    recorded = open_dataset(dataset).manifest["steps"]["caption:image_caption"]["config"]
    assert (recorded["captioner"], recorded["model"]) == ("FakeCaptioner", "fake")


def test_a_captioner_of_ones_own_that_takes_no_video_is_told(dataset, config):
    own = FakeCaptioner()
    own.takes_video = False
    with pytest.raises(UserError, match="model 'fake' accepts images but no video"):
        prep.caption(dataset, config(video_caption=CLIPS), captioners={"video_caption": own})
