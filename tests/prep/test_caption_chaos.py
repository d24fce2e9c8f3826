"""Captioning killed repeatedly: cached captions are not requested again, and none is missing."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from stub_server import Reply, StubServer, caption

import prep
from prep import MediaConfig, PrepConfig
from toolkit import open_dataset

ROOT = Path(__file__).parents[2]
KILLS, CONCURRENCY, ANSWER_SECONDS = 4, 2, 0.05


class Tally:
    """What a server has answered, and when: an answer counts once its whole body could be read."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __call__(self, before: int, prompt: str) -> Reply:
        time.sleep(ANSWER_SECONDS)
        self.times[prompt] += 1
        return caption(f"caption of {prompt}")


def command(dataset: Path, url: str, prompt: Path, cache: Path) -> subprocess.Popen[str]:
    settings = {
        "source": "cover",
        "captioner": "openai",
        "model": "m",
        "url": url,
        "prompt": prompt,
        "concurrency": CONCURRENCY,
    }
    words = [f"--caption.image_caption.{key}={value}" for key, value in settings.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "prep", "caption", str(dataset), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "VERSA_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_killed_while_captioning(synth_dump, tmp_path):
    """Each item has its own prompt (by its title and a number of its own), so the server tells them apart."""
    dump, out = tmp_path / "dump", tmp_path / "out"
    give_each_item_its_own_title(synth_dump, dump)
    prep.build(dump, out, PrepConfig(media=MediaConfig(workers=1)))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{title}")
    tally = Tally()
    kept_at_kills = []
    with StubServer(tally) as server:
        for kill in range(KILLS):
            process = command(out, server.url, prompt, tmp_path / "cache")
            target = (kill + 1) * 24 // (KILLS + 1)
            while len(kept(tmp_path / "cache")) < target and process.poll() is None:
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
            told, _ = process.communicate(timeout=300)
            assert process.returncode == -signal.SIGKILL, told
            kept_at_kills.append({title: tally.times[title] for title in kept(tmp_path / "cache")})
        process = command(out, server.url, prompt, tmp_path / "cache")
        told, _ = process.communicate(timeout=300)
        assert process.returncode == 0, told

    rows = open_dataset(out).captions("image_caption").to_pylist()
    titles = open_dataset(out).items.column("title").to_pylist()
    assert sorted(row["text"] for row in rows) == sorted(f"caption of {t}" for t in titles)
    assert prep.check(out) == []
    del tally.times["What is it?"]  # the question that finds out whether the server is there
    assert set(tally.times) == set(titles)
    # What was kept when a kill came is not asked for again, and only what was on its way is lost.
    assert [len(kept_then) > 0 for kept_then in kept_at_kills] == [True] * KILLS
    for kept_then in kept_at_kills:
        assert {title: tally.times[title] for title in kept_then} == kept_then
    lost = sum(tally.times.values()) - 24
    assert lost <= KILLS * (2 * CONCURRENCY + 1)


def kept(cache: Path) -> list[str]:
    """Titles of the items whose captions are in the cache, which the first run makes."""
    path = cache / "captions.sqlite"
    if not path.exists() or not path.stat().st_size:
        return []
    with closing(sqlite3.connect(path)) as database:
        texts = [json.loads(text) for (text,) in database.execute("SELECT text FROM captions")]
    return [text.removeprefix("caption of ") for text in texts]


def give_each_item_its_own_title(synth_dump: Path, dump: Path) -> None:
    shutil.copytree(synth_dump, dump)
    (dump / "prep.yaml").unlink()
    (titles,) = dump.glob("*_titles.csv")
    with titles.open(newline="") as file:
        header, *rows = csv.reader(file)
    with titles.open("w", newline="") as file:
        csv.writer(file).writerows([header, *([id_, f"item {id_}"] for id_, _ in rows)])
