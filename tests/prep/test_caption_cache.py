"""The cache of captions: its key, and foreign or damaged cache files."""

import multiprocessing
import sqlite3
import stat

import pytest
from fake_captioner import FakeCaptioner, request

from prep.captioners import Payload, Request
from prep.captioners.cache import FILE, Cache, key_of
from prep.captioners.captioner import Answer, ended
from toolkit import UserError


def test_a_caption_is_found_again_exactly(tmp_path):
    texts = {"a": "two\nlines", "b": "", "c": "ein Stern ⭐ 红色", "d": "half an emoji \ud83d"}
    Cache(tmp_path / "new" / "folder").keep(texts, FakeCaptioner())
    found = Cache(tmp_path / "new" / "folder").find(["d", "a", "unknown", "b", "c", "a"])
    assert found == texts


def test_how_an_answer_ended_is_kept_with_it(tmp_path):
    said = {"a": Answer("A dog. A c", "cut"), "b": Answer("A dog.")}
    Cache(tmp_path).keep(said, FakeCaptioner())
    found = Cache(tmp_path).find(said)
    assert found == said
    assert {key: ended(text) for key, text in found.items()} == {"a": "cut", "b": "whole"}


def test_more_keys_than_one_question_takes(tmp_path):
    texts = {str(number): f"text {number}" for number in range(1203)}
    cache = Cache(tmp_path)
    cache.keep(texts, FakeCaptioner())
    assert cache.find(texts) == texts


VIDEO = Payload([b"one", b"two"], [0.0, 0.5], is_video=True)
DIFFERENT = {
    "pixels": (request("a", b"other pixels"), {}),
    "prompt": (request("b"), {}),
    "model": (request("a"), {"model": "other"}),
    "revision": (request("a"), {"revision": "2"}),
    "settings": (request("a"), {"settings": {"max_new_tokens": 9}}),
    "video": (Request(VIDEO, "a"), {}),
    "times": (Request(VIDEO._replace(pts_seconds=[0.0, 0.6]), "a"), {}),
    "order": (Request(VIDEO._replace(frames=[b"two", b"one"]), "a"), {}),
}


def test_a_key_depends_on_everything_that_a_caption_depends_on_and_on_nothing_else():
    keys = {key_of(request("a"), FakeCaptioner())}
    for asked, about in DIFFERENT.values():
        captioner = FakeCaptioner()
        vars(captioner).update(about)
        keys.add(key_of(asked, captioner))
    assert len(keys) == 1 + len(DIFFERENT)
    assert key_of(request("a"), FakeCaptioner(batch_size=9)) in keys


def _keep(folder, worker):
    cache = Cache(folder)
    for number in range(50):
        cache.keep({f"{worker} {number}": "x"}, FakeCaptioner())


def test_several_processes_keep_captions_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_keep, args=(tmp_path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM captions").fetchone() == (200,)
    database.close()


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(
        UserError, match=r"captions\.sqlite: the caption cache cannot be used .*--caption_cache"
    ):
        Cache(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be used .*--caption_cache"):
        Cache(tmp_path / "file")


def test_the_cache_holds_no_pictures_and_no_titles(tmp_path):
    captioner = FakeCaptioner()
    asked = request("Describe the video that is called: A SECRET TITLE", b"A PICTURE")
    Cache(tmp_path).keep({key_of(asked, captioner): "said"}, captioner)
    held = (tmp_path / FILE).read_bytes()
    assert b"SECRET" not in held and b"PICTURE" not in held and b"said" in held
    assert not (tmp_path / FILE).stat().st_mode & stat.S_IXUSR
