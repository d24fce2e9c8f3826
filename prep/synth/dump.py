"""Writes a synthetic dump: files in MicroLens' own layout, and `truth.json` with the model behind them."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import av

from prep.synth.folder import new_folder
from prep.synth.scenes import FRAMES_PER_SECOND, SIDE_PX, Image
from prep.synth.themes import THEMES, Theme
from prep.synth.traits import Traits
from prep.synth.world import (
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
from toolkit.images import encode_jpeg

NAME = "MicroLens-synth"
FEWEST_ITEMS = 20


def write_dump(
    out: Path,
    *,
    items: int = 300,
    users: int = 1000,
    seed: int = 0,
    taste: int | None = None,
    theme: str = "shapes",
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
        theme: `shapes`, or `faces` whose expression in the clip decides what users choose (`prep.synth.themes`).
        progress: whether to show a progress bar on stderr.

    Raises:
        UserError: if a number is too small, the theme is unknown, `out` is a file or not empty, or another process is writing it.
    """
    out = Path(out)
    _check_numbers(items=items, users=users, seed=seed, taste=taste or 0)
    if theme not in THEMES:
        raise UserError(f"theme is {theme!r}; expected one of {', '.join(THEMES)}")
    shown = THEMES[theme]
    catalogue = draw_items(items, seed, shown)
    traits = draw_traits(taste, shown)
    people = draw_users(users, catalogue, seed, traits, shown)
    with new_folder(out, last="truth.json") as folder:
        _write_media(folder, catalogue, shown, seed, progress=progress)
        _write_tables(folder, catalogue, people, shown)
        _write_truth(folder, catalogue, people, shown, traits, taste)


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


def _write_media(
    folder: Path, items: Sequence[Item], theme: Theme, seed: int, *, progress: bool
) -> None:
    (folder / "covers").mkdir()
    (folder / "videos").mkdir()
    rows = track(enumerate(items), "drawing covers and clips", total=len(items), enabled=progress)
    for row, item in rows:
        cover = theme.draw_cover(item.words, generator(seed, Purpose.COVER, row))
        write_cover(folder / "covers" / f"{item.id}.jpg", cover)
        frames = theme.draw_frames(item.words, generator(seed, Purpose.CLIP, row))
        write_clip(folder / "videos" / f"{item.id}.mp4", frames, index_first=row % 2 == 1)


def write_cover(path: Path, image: Image) -> None:
    """Writes an RGB image as a JPEG."""
    path.write_bytes(encode_jpeg(image))


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


def _write_tables(folder: Path, items: Sequence[Item], users: Sequence[User], theme: Theme) -> None:
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
    _write_lines(folder / "prep.yaml", theme.prep_yaml.splitlines())


def _write_truth(
    folder: Path,
    items: Sequence[Item],
    users: Sequence[User],
    theme: Theme,
    traits: Traits,
    taste: int | None,
) -> None:
    """Writes the model behind the users' choices, for tests and the oracle; `prep` never reads it.

    Under the names of attributes, items have the traits that users see; with a taste, `looks` are the attributes.
    """
    looks = {} if taste is None else {"taste": taste, "looks": [item.words for item in items]}
    truth = {
        "strengths": dict(theme.strengths),
        "attributes": theme.attributes,
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
