"""Digests of files, and which of them are cached."""

import hashlib
import os

import pytest

from toolkit.digests import remembered_sha256_of, sha256_of


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VERSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests"


def write(path, data, *, seconds_ago):
    path.write_bytes(data)
    then = path.stat().st_mtime - seconds_ago
    os.utime(path, (then, then))


def test_it_is_sha256_of_all_bytes(tmp_path):
    data = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert remembered_sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_an_unchanged_file_is_read_once(monkeypatch, tmp_path):
    path = tmp_path / "file"
    write(path, b"weights", seconds_ago=60)
    first = remembered_sha256_of(path)
    monkeypatch.setattr("toolkit.digests.sha256_of", lambda path: pytest.fail("read again"))
    assert remembered_sha256_of(path) == first


def test_one_byte_in_the_middle_changes_it(tmp_path):
    path = tmp_path / "file"
    write(path, b"a" * 100, seconds_ago=60)
    first = remembered_sha256_of(path)
    write(path, b"a" * 50 + b"b" + b"a" * 49, seconds_ago=30)
    assert remembered_sha256_of(path) != first


def test_a_file_of_this_moment_is_not_remembered(cache, tmp_path):
    (tmp_path / "file").write_bytes(b"may change again within the clock's resolution")
    remembered_sha256_of(tmp_path / "file")
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"identity": []}'])
def test_a_broken_memory_is_made_again(cache, tmp_path, content):
    path = tmp_path / "file"
    write(path, b"weights", seconds_ago=60)
    first = remembered_sha256_of(path)
    next(cache.iterdir()).write_text(content)
    assert remembered_sha256_of(path) == first


def test_a_cache_that_cannot_be_written_costs_nothing_else(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("VERSA_CACHE", str(tmp_path / "taken"))
    write(tmp_path / "file", b"weights", seconds_ago=60)
    assert remembered_sha256_of(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()
