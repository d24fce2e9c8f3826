"""Predictions for an image, a folder or a video, and captions of faces for a dataset of micro-videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.facial.annotate import annotate, sink_of
from models.facial.detector import load_detector
from models.facial.frames import IMAGES, read_frames
from models.facial.predictions import predictions, schema_of
from models.facial.pretrained import CONFIG, from_pretrained
from models.facial.table import as_dataframe, read_rows, write_rows, writer_of
from models.facial.trained import TrainedFaces
from models.runs.folder import MODEL
from toolkit.arguments import a_path, refuse_one_file
from toolkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DETECTOR = "centerface"


def predict(
    path: str | Path,
    run: str | Path,
    *,
    detector: str = DETECTOR,
    every: int = 1,
    track: bool = False,
    batch_size: int = 32,
    device: str = "cpu",
) -> "pd.DataFrame":
    """A row per face and frame (`models.facial.table.table_schema`).

    Args:
        path: image, folder of images, or video.
        run: run folder, model folder, or `owner/name` on the hub.
        detector: `centerface`, or `none` for pictures that are crops of faces.
        every: predict the frames 0, N, 2N, ...
        track: whether the images of a folder are the frames of one video, in which a face keeps its number.
        batch_size: faces at a time.
        device: of the network.

    Raises:
        UserError: if the path cannot be read, there is no such model, or the detector is not installed.
    """
    trained = load_trained(run, device=device)
    frames = read_frames(path, every=every, track=track)
    rows = predictions(frames, load_detector(detector), trained, batch_size=batch_size)
    return as_dataframe(rows, schema_of(trained))


def write_predictions(
    path: Path,
    run: Path,
    output: Path,
    *,
    annotated: Path | None = None,
    detector: str = DETECTOR,
    every: int = 1,
    track: bool = False,
    batch_size: int = 32,
    device: str = "cpu",
    aus: Sequence[int] | None = None,
) -> dict[str, int]:
    """Writes the rows to a .csv, .parquet or .jsonl file; memory does not grow with their number.

    Args:
        path: see `predict`, as the arguments that are not listed here.
        run: run folder, model folder, or name on the hub.
        output: the file.
        annotated: an .mp4 file or a folder for the frames with boxes, AUs and texts; None for neither.
        detector: name of the detector.
        every: predict the frames 0, N, 2N, ...
        track: whether the images of a folder are the frames of one video, in which a face keeps its number.
        batch_size: faces at a time.
        device: of the network.
        aus: numbers of the AUs that the network must recognise; None for any.

    Returns:
        The numbers of `rows` and of `annotated` frames.

    Raises:
        UserError: as `predict` does; or if an output has another suffix.
    """
    writer_of(output)
    if annotated is not None:
        sink_of(annotated)
        _refuse_overwriting(Path(path), annotated)
    frames, found = read_frames(path, every=every, track=track), load_detector(detector)
    trained = load_trained(run, device=device)
    refuse_other_aus(trained, aus, where=str(run))
    schema = schema_of(trained)
    count = write_rows(predictions(frames, found, trained, batch_size=batch_size), output, schema)
    drawn = 0
    if annotated is not None:
        drawn = annotate(read_frames(path, every=every), read_rows(output, schema), annotated)
    return {"rows": count, "annotated": drawn}


def _refuse_overwriting(path: Path, annotated: Path) -> None:
    """Refuses to write annotated frames over the video, or among the pictures, that they show."""
    is_among = not path.is_dir() and annotated.is_dir() and path.suffix.lower() in IMAGES
    refuse_one_file({"the input": path.parent if is_among else path, "--annotate": annotated})


def load_trained(run: str | Path, *, device: str = "cpu") -> TrainedFaces:
    """The network of a run folder or model folder, on a device.

    Raises:
        UserError: if there is no such model.
    """
    path = a_path(run, name="run")
    if path.is_dir() and not (path / CONFIG).is_file():
        if not (path / MODEL).is_dir():
            raise UserError(
                f"{path}: neither a run nor a model folder of models.facial.train; pass a run whose training has ended"
            )
        path = path / MODEL
    trained = from_pretrained(path)
    trained.network.to(device)
    return trained


def refuse_other_aus(trained: TrainedFaces, aus: Sequence[int] | None, *, where: str) -> None:
    """Refuses a checkpoint that does not recognise exactly the wanted AUs.

    Args:
        trained: the checkpoint.
        aus: numbers of the wanted AUs in FACS; None for any.
        where: the checkpoint, for the message.

    Raises:
        UserError: naming the difference.
    """
    if aus is None or tuple(aus) == trained.aus:
        return
    wanted, has = (", ".join(map(str, numbers)) for numbers in (aus, trained.aus))
    raise UserError(
        f"{where}: recognises the {len(trained.aus)} AUs {has}, and {len(aus)} AUs {wanted} are wanted; use a "
        "checkpoint of these AUs"
    )
