"""Writes a synthetic dump of faces: pictures and lists as ME-GraphAU lays out BP4D and DISFA, and `truth.json`.

`data/DS/img/` has the pictures, `data/DS/list/` the lists of three folds. A dump like DISFA also has DISFA's own files of
intensities, `data/DS/ActionUnit_Labels/SN001/SN001_au1.txt`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from prep.synth.faces.anatomy import Subject, draw_subject
from prep.synth.faces.canvas import Image
from prep.synth.faces.occlusion import occlude
from prep.synth.faces.sequences import draw_intensities, draw_rates
from prep.synth.faces.settings import FOLDS, Like, SynthFaces
from prep.synth.faces.styles import STYLES, Style, View, render
from prep.synth.folder import new_folder
from prep.synth.world import Purpose, generator
from toolkit.console.progress import track
from toolkit.facs import ACTIVE_FROM, MISSING

_JPEG_QUALITY = 92
_MOST_SUBJECTS = 1 << 20  # rows of generators between two datasets
_MOST_SEQUENCES = 8  # rows of generators of a subject


@dataclass(frozen=True)
class Recording:
    """A sequence of frames of one subject.

    Args:
        subject: id of the subject.
        person: the subject.
        fold: the fold whose test list has the subject, from 1.
        row: of the generators of its pictures.
        paths: of its pictures, relative to `img/`.
        intensities: (F, A), 0 to 5, as painted.
        labels: (F, A), as listed: 0, 1, or 9 for missing.
    """

    subject: str
    person: Subject
    fold: int
    row: int
    paths: list[str]
    intensities: NDArray[np.float64]
    labels: NDArray[np.int64]


def write_faces(
    out: str | Path, settings: SynthFaces | None = None, *, progress: bool = True
) -> None:
    """Writes a dump that is fully determined by its settings, byte for byte.

    Args:
        out: folder to write, which must be empty or not exist.
        settings: what the dump holds.
        progress: whether to show a progress bar on stderr.

    Raises:
        UserError: if `out` is a file or not empty, or another process is writing it.
    """
    settings = settings or SynthFaces()
    style = STYLES[settings.like]
    recordings = [*_draw(settings, style)]
    with new_folder(Path(out), last="truth.json") as folder:
        root = folder / "data" / style.name
        hidden = _write_pictures(root / "img", recordings, settings, style, progress=progress)
        _write_lists(root / "list", recordings, style)
        if settings.like == "disfa":
            _write_intensities(root / "ActionUnit_Labels", recordings, style)
        truth = _truth(recordings, hidden, settings, style)
        (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def _draw(settings: SynthFaces, style: Style) -> Iterator[Recording]:
    """Draws the subjects and what they do; a subject does not depend on the number of others."""
    first = get_args(Like).index(settings.like) * _MOST_SUBJECTS
    counts = np.diff(
        np.linspace(0, settings.frames, len(style.sequences) + 1).round().astype(int)
    ).tolist()
    for number in range(settings.subjects):
        row = first + number
        subject = style.subject_id(number)
        person = draw_subject(generator(settings.seed, Purpose.FACE, row))
        rates = draw_rates(
            len(style.units),
            generator(settings.seed, Purpose.FACE_RATES, row),
            shortcut=settings.shortcut,
        )
        for index, (name, count) in enumerate(zip(style.sequences, counts, strict=True)):
            own = row * _MOST_SEQUENCES + index
            rng = generator(settings.seed, Purpose.FACE_LABELS, own)
            intensities = draw_intensities(count, rates, rng)
            labels = (intensities >= ACTIVE_FROM).astype(np.int64)
            labels[rng.random(labels.shape) < settings.missing] = MISSING
            folder = f"{subject}/{name}" if name else subject
            paths = [
                f"{folder}/{style.first_frame + frame}{style.suffix}" for frame in range(count)
            ]
            yield Recording(subject, person, number % FOLDS + 1, own, paths, intensities, labels)


def _write_pictures(
    folder: Path,
    recordings: Sequence[Recording],
    settings: SynthFaces,
    style: Style,
    *,
    progress: bool,
) -> dict[str, str]:
    """Writes all pictures; returns the hidden region of each picture in which an object hides one."""
    hidden = {}
    total = sum(len(recording.paths) for recording in recordings)
    numbered = (
        (recording, index) for recording in recordings for index in range(len(recording.paths))
    )
    view = View()
    for recording, index in track(numbered, "drawing faces", total=total, enabled=progress):
        path = folder / recording.paths[index]
        if index == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = generator(settings.seed, Purpose.FACE_SEQUENCE, recording.row)
            view = View.draw(rng)
        intensities = dict(zip(style.units, recording.intensities[index], strict=True))
        picture = render(
            recording.person,
            intensities,
            size_px=settings.size_px,
            style=style,
            view=view.moved(rng),
            rng=rng,
        )
        if rng.random() < settings.occlusions:
            hidden[recording.paths[index]] = occlude(picture, rng)
        _write_picture(path, picture)
    return hidden


def _write_picture(path: Path, picture: Image) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    path.write_bytes(encoded.tobytes())


def _write_lists(folder: Path, recordings: Sequence[Recording], style: Style) -> None:
    folder.mkdir(parents=True)
    for fold in range(1, FOLDS + 1):
        parts = {
            "train": [recording for recording in recordings if recording.fold != fold],
            "test": [recording for recording in recordings if recording.fold == fold],
        }
        for part, listed in parts.items():
            paths = (path for recording in listed for path in recording.paths)
            labels = (" ".join(map(str, row)) for recording in listed for row in recording.labels)
            _write_lines(folder / f"{style.name}_{part}_img_path_fold{fold}.txt", paths)
            _write_lines(folder / f"{style.name}_{part}_label_fold{fold}.txt", labels)
        weights = _weights(np.concatenate([recording.labels for recording in parts["train"]]))
        text = " ".join(f"{weight:.6f}" for weight in weights)
        _write_lines(folder / f"{style.name}_weight_fold{fold}.txt", [text])


def _weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class weights (A,): 1 / rate of each AU, normalised to sum to A."""
    known = np.maximum((labels != MISSING).sum(axis=0), 1)
    active = np.maximum((labels == 1).sum(axis=0), 1)
    weights: NDArray[np.float64] = known / active
    return weights * len(weights) / weights.sum()


def _write_intensities(folder: Path, recordings: Sequence[Recording], style: Style) -> None:
    """DISFA's own files: a line `frame,intensity` per frame, from frame 1, in whole intensities."""
    for recording in recordings:
        (folder / recording.subject).mkdir(parents=True)
        for unit, values in zip(style.units, recording.intensities.T, strict=True):
            lines = (f"{frame},{int(value)}" for frame, value in enumerate(values, start=1))
            path = folder / recording.subject / f"{recording.subject}_au{unit}.txt"
            _write_lines(path, lines)


def _truth(
    recordings: Sequence[Recording], hidden: dict[str, str], settings: SynthFaces, style: Style
) -> dict[str, object]:
    """The model behind the dump, for tests; `prep` never reads it."""
    return {
        "settings": asdict(settings),
        "units": style.units,
        "people": {recording.subject: asdict(recording.person) for recording in recordings},
        "folds": {recording.subject: recording.fold for recording in recordings},
        "intensities": {
            path: np.round(values, 3).tolist()
            for recording in recordings
            for path, values in zip(recording.paths, recording.intensities, strict=True)
        },
        "hidden": hidden,
    }


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
