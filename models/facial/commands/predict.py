"""`python -m models.facial predict RUN PATH --output FILE`."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from models.machine.device import best_device
from toolkit.console.program import PlainCommand
from toolkit.console.terminal import Answer
from toolkit.errors import UserError
from toolkit.facs import checked_units


def add_options(parser: ArgumentParser) -> None:
    """Adds the run, the input, the outputs and the detector."""
    parser.add_argument("run", metavar="RUN", help="run folder, model folder, or name on the hub")
    parser.add_argument(
        "path",
        metavar="PATH",
        help="image, folder of images or video; or a dataset of micro-videos, whose covers or frames are described",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        required=True,
        help="file to write: .csv, .parquet or .jsonl; .csv or .parquet for a dataset",
    )
    parser.add_argument(
        "--detector",
        default="centerface",
        help="centerface; or none if the pictures are crops of faces",
    )
    parser.add_argument(
        "--annotate",
        metavar="OUT",
        help="an .mp4 file or a folder for the frames with boxes, AUs and texts",
    )
    parser.add_argument("--every", type=int, default=1, help="predict every N-th frame")
    parser.add_argument(
        "--track",
        action="store_true",
        help="the images of a folder are the frames of one video, in which a face keeps its number",
    )
    parser.add_argument("--batch_size", type=int, default=32, help="faces at a time")
    parser.add_argument(
        "--aus", metavar="N,N", help="refuse a checkpoint that recognises other AUs than these"
    )
    parser.add_argument(
        "--source",
        choices=["cover", "frames"],
        help="what of a dataset's items is described; cover by default",
    )


def aus_of(text: str) -> list[int]:
    """The numbers of an option such as `1,2,4`.

    Raises:
        UserError: if they are no numbers of AUs.
    """
    try:
        return list(checked_units([int(part) for part in text.split(",")], where="--aus"))
    except ValueError:
        raise UserError(f"--aus is {text!r}; expected numbers separated by commas: 1,2,4") from None


def run(options: Namespace) -> Answer:
    """Writes the table of predictions, or the captions of a dataset."""
    from models.facial.captions import is_dataset, write_captions
    from models.facial.inference import write_predictions

    given = {
        "detector": options.detector,
        "batch_size": options.batch_size,
        "device": best_device(),
        "aus": options.aus and aus_of(options.aus),
    }
    path, run, output = (Path(value) for value in (options.path, options.run, options.output))
    _refuse_needless(options, path, of_dataset=is_dataset(path))
    if is_dataset(path):
        counts = write_captions(path, run, output, source=options.source or "cover", **given)
    else:
        annotated = Path(options.annotate) if options.annotate else None
        counts = write_predictions(
            path,
            run,
            output,
            annotated=annotated,
            every=options.every,
            track=options.track,
            **given,
        )
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return Answer(f"{output}: {text}", counts)


def _refuse_needless(options: Namespace, path: Path, *, of_dataset: bool) -> None:
    """Refuses options that have no effect on the kind of input.

    Raises:
        UserError: naming the option.
    """
    if of_dataset:
        kind = "a dataset"
        given = {
            "--annotate": options.annotate,
            "--every": options.every != 1,
            "--track": options.track,
        }
    else:
        kind, given = "no dataset that prep wrote", {"--source": options.source}
    needless = [name for name, value in given.items() if value]
    if needless:
        raise UserError(f"{path}: {kind}, on which {needless[0]} has no effect; leave it out")


COMMAND = PlainCommand(
    help="predicts AUs and describes faces in an image, a folder, a video, or a dataset of micro-videos",
    about=(
        "Writes a row per face and frame with the columns of OpenFace and py-feat: frame, face_id, success, the box, AU01_p, "
        "AU01_c and texts. For a dataset it writes item_id, text and status, which `prep caption --caption.face_caption.file "
        "FILE` imports."
    ),
    examples=(
        "python -m models.facial predict runs/tiny video.mp4 --output faces.csv --annotate faces.mp4",
        "python -m models.facial predict runs/tiny crops/ --detector none --output faces.parquet",
        "python -m models.facial predict runs/tiny demo/dataset --source frames --output captions.csv",
    ),
    add_options=add_options,
    run=run,
)
