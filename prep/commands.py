"""The commands of `python -m prep`: arguments, action and answer of each."""

import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jsonargparse import ArgumentParser, Namespace

import prep
from prep.check import count, describe
from prep.checks.files import without_checksums
from prep.config import PrepConfig
from prep.faces.config import FacesConfig
from prep.sample import COUNT, PAGE
from prep.synth.faces.settings import SynthFaces
from toolkit.console.colours import painted
from toolkit.console.terminal import Answer
from toolkit.errors import UserError

CONFIG_NAME = "prep.yaml"
PLACES = {
    "out": "folder to write, absent or empty",
    "dump": "folder of the downloaded files",
    "dataset": "folder that prep writes",
    "tower": "name of a stored tower",
    "file": "OUT.npy to write; the ids go to OUT.ids.txt",
}


def _no_options(parser: ArgumentParser) -> None:
    pass


class Command(NamedTuple):
    """A command of `python -m prep` (see `toolkit.console.program.Command`).

    Args:
        help: one line.
        about: what it reads and what it writes.
        examples: command lines that work after `make demo`.
        places: its positional arguments, of `PLACES`.
        run: runs it.
        add_own: adds the options that no other command has.
        configured: whether it has the options of `PrepConfig`.
        retries: whether it has --retry-failed.
        uses: keys of the configuration that it reads from `dataset.json`.
    """

    help: str
    about: str
    examples: tuple[str, ...]
    places: tuple[str, ...]
    run: Callable[[Namespace], Answer]
    add_own: Callable[[ArgumentParser], None] = _no_options
    configured: bool = False
    retries: bool = False
    uses: tuple[str, ...] = ()

    def add_options(self, parser: ArgumentParser) -> None:
        """Adds its arguments to a parser."""
        for place in self.places:
            kind = str if place == "tower" else Path
            parser.add_argument(place, type=kind, metavar=place.upper(), help=PLACES[place])
        self.add_own(parser)
        if self.retries:
            parser.add_argument("--retry-failed", action="store_true", help="retry failed items")
        if self.configured:
            default = f"DUMP/{CONFIG_NAME}" if "dump" in self.places else "that of dataset.json"
            parser.add_argument(
                "--config",
                action="config",
                metavar="FILE",
                help=f"YAML file of the keys below (default: {default})",
            )
            parser.add_class_arguments(PrepConfig)


def _synth_options(parser: ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=300, help="how many items")
    parser.add_argument("--users", type=int, default=1000, help="how many users")
    parser.add_argument("--seed", type=int, default=0, help="any integer from 0")
    parser.add_argument(
        "--taste",
        type=int,
        metavar="SEED",
        help="draw what content means to users from this seed: dumps with one taste and different seeds are platforms "
        "with other items and other users, who choose alike (default: users want the attributes themselves)",
    )
    parser.add_argument(
        "--theme",
        default="shapes",
        help="what covers and clips show: shapes; or faces, whose expression in the clip decides what users choose",
    )


def _synth(options: Namespace) -> Answer:
    from prep.synth import write_dump

    names = ("items", "users", "seed", "taste", "theme")
    asked = {name: options[name] for name in names if options[name] is not None}
    write_dump(options.out, **asked)
    text = f"wrote a synthetic dump; next: python -m prep build {options.out} DATASET"
    return Answer(text, {"dump": str(options.out), **asked})


def _synth_faces_options(parser: ArgumentParser) -> None:
    parser.add_class_arguments(SynthFaces)


def _synth_faces(options: Namespace) -> Answer:
    from prep.synth.faces.dump import write_faces

    settings = _filled(SynthFaces, options)
    write_faces(options.out, settings)
    text = f"wrote a synthetic dump of faces; next: python -m prep faces {options.out} DATASET"
    return Answer(text, {"dump": str(options.out), **asdict(settings)})


def _faces_options(parser: ArgumentParser) -> None:
    parser.add_class_arguments(FacesConfig)


def _faces(options: Namespace) -> Answer:
    config = _filled(FacesConfig, options)
    prep.faces(options.dump, options.dataset, config, retry_failed=options.retry_failed)
    prep.report(options.dataset)
    return _written(options)


def _build(options: Namespace) -> Answer:
    prep.build(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _ingest(options: Namespace) -> Answer:
    prep.ingest(options.dump, options.dataset, _config(options))
    return _written(options)


def _media(options: Namespace) -> Answer:
    prep.media(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _caption_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sample", type=int, metavar="N", help="caption N items to look at, and store no row"
    )
    parser.add_argument(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"write the sample as a page (FILE: DATASET/{PAGE}; N: {COUNT})",
    )


def _caption(options: Namespace) -> Answer:
    if options.sample is not None or options.html is not None:
        return _sample(options)
    prep.caption(options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _sample(options: Namespace) -> Answer:
    if options.retry_failed:
        raise UserError(
            "--retry-failed does items again, and --sample stores none; give one of them"
        )
    size = COUNT if options.sample is None else options.sample
    html = None if options.html is None else Path(options.html or options.dataset / PAGE)
    sample = prep.sample_captions(options.dataset, _config(options), count=size, html=html)
    text = f"{sample}\n\npage: {html}" if html else str(sample)
    return Answer(text, sample.as_dict() if options.json else None)


def _encode(options: Namespace) -> Answer:
    prep.encode(options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _check_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dump",
        type=Path,
        metavar="DUMP",
        help="compare its covers and clips with the digests of those that were read",
    )


def _check(options: Namespace) -> Answer:
    reasons = prep.check(options.dataset)
    if options.dump is not None:
        differences = prep.check_sources(options.dataset, options.dump)
        reasons = list(dict.fromkeys([*reasons, *differences]))
    if reasons:
        broken = painted("broken:", "red", sys.stderr)
        text = "\n".join(f"{broken} {reason}" for reason in reasons)
        return Answer(text, {"dataset": str(options.dataset), "broken": reasons}, status=1)
    tables, silent = count(options.dataset), without_checksums(options.dataset)
    notice = (
        f"notice: no checksums are recorded for {', '.join(silent)}: an older Versa wrote them, so damage shows "
        "only where it breaks a table"
    )
    text = "\n".join([describe(tables), *([notice] if silent else [])])
    return Answer(text, {**_tables(options.dataset), "broken": [], "without_checksums": silent})


def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--layer", default="last", help="last or mean of the kept states, or the index of one"
    )


def _export(options: Namespace) -> Answer:
    ids = prep.export_tower(options.dataset, options.tower, options.file, layer=options.layer)
    text = f"wrote {options.file} and {ids}: row r is of the item on line r"
    return Answer(text, {"file": str(options.file), "ids": str(ids)})


def _report(options: Namespace) -> Answer:
    facts = prep.report(options.dataset)
    pages = {name: str(options.dataset / f"report.{name}") for name in ("html", "json")}
    return Answer("", {"dataset": str(options.dataset), **pages, "verdict": facts["verdict"]})


def _audit(options: Namespace) -> Answer:
    from prep.audit import in_words

    facts = prep.audit(options.dataset)
    data = {"dataset": str(options.dataset), **facts}
    return Answer(in_words(str(options.dataset), facts), data)


def _estimate(options: Namespace) -> Answer:
    estimate = prep.estimate(options.dump, _config(options))
    totals = {name: getattr(estimate, name) for name in ("seconds", "disk_bytes", "memory_bytes")}
    return Answer(str(estimate), {**asdict(estimate), **totals})


def _written(options: Namespace) -> Answer:
    """The answer of a step, which printed its summary itself."""
    return Answer("", _tables(options.dataset) if options.json else None)


def _tables(dataset: Path) -> dict[str, Any]:
    counts = count(dataset)
    tables = {name: {"rows": rows, **statuses} for name, (rows, statuses) in counts.items()}
    return {"dataset": str(dataset), "tables": tables}


def _config(options: Namespace) -> PrepConfig:
    return _filled(PrepConfig, options)


Settings = TypeVar("Settings", PrepConfig, FacesConfig, SynthFaces)


def _filled(kind: type[Settings], options: Namespace) -> Settings:
    """A command's options as a dataclass."""
    return kind(**{key.name: options[key.name] for key in fields(kind)})


COMMANDS = {
    "synth": Command(
        help="writes a synthetic dump",
        about=(
            "Draws covers and video clips, and generates titles, users with known tastes, and likes, in the layout "
            "of MicroLens. OUT/prep.yaml names encoders that need no download."
        ),
        examples=("python -m prep synth small --items 50 --users 200",),
        places=("out",),
        run=_synth,
        add_own=_synth_options,
    ),
    "synth-faces": Command(
        help="writes a synthetic dump of faces with action units",
        about=(
            "Draws faces whose action units (AUs) move as FACS describes them, in sequences of smooth intensities, with the "
            "lists of BP4D or of DISFA as ME-GraphAU lays them out. OUT/truth.json has what was drawn; only tests read it."
        ),
        examples=(
            "python -m prep synth-faces faces-dump --subjects 6 --frames 20",
            "python -m prep synth-faces OUT --like disfa --shortcut 1 --occlusions 0.1",
        ),
        places=("out",),
        run=_synth_faces,
        add_own=_synth_faces_options,
    ),
    "faces": Command(
        help="stores a dump of faces with labels of action units",
        about=(
            "Reads lists of BP4D or DISFA as ME-GraphAU lays them out, or DISFA's own files per AU. Writes faces/, errors/, "
            "dataset.json and the integrity report. If it was stopped, running it again resumes it. Broken pictures do not "
            "stop it: they are listed in errors/ and report.html."
        ),
        examples=(
            "python -m prep faces DUMP DATASET",
            "python -m prep faces DUMP DATASET --aus 1,2,4,6,12 --size_px 224",
        ),
        places=("dump", "dataset"),
        run=_faces,
        add_own=_faces_options,
        retries=True,
    ),
    "build": Command(
        help="runs every step in order: ingest, media, caption, encode, report",
        about=(
            "Reads a dump and writes a dataset. If it was stopped, running it again resumes it: finished items are "
            "not processed again. Broken files do not stop it: they are listed in errors/ and report.html."
        ),
        examples=(
            "python -m prep build demo/dump demo/dataset",
            "python -m prep build DUMP DATASET --encode.title.encoder bert-base-uncased",
            "python -m prep build DUMP DATASET --k_core 5 --media.frame_count 8",
        ),
        places=("dump", "dataset"),
        run=_build,
        configured=True,
        retries=True,
    ),
    "ingest": Command(
        help="numbers items and users, and sorts interactions",
        about="Reads a dump's tables. Writes items/, interactions/, comments/ and dataset.json.",
        examples=(
            "python -m prep ingest demo/dump demo/dataset",
            "python -m prep ingest DUMP DATASET --columns user=uid,item=asin,time=ts,title=name",
        ),
        places=("dump", "dataset"),
        run=_ingest,
        configured=True,
    ),
    "media": Command(
        help="stores covers and video frames",
        about="Reads a dump's pictures and clips, after `ingest`. Writes covers/ and frames/.",
        examples=("python -m prep media demo/dump demo/dataset",),
        places=("dump", "dataset"),
        run=_media,
        configured=True,
        retries=True,
    ),
    "caption": Command(
        help="captions covers and clips with a vision-language model",
        about=(
            "Reads covers/ and frames/. Writes captions/NAME/, one caption per item. --sample captions a few items "
            "first, so that you can look at them before days of work. --caption.NAME.file imports ready captions."
        ),
        examples=(
            "python -m prep caption demo/dataset --sample 5 --html",
            "python -m prep caption demo/dataset",
            "python -m prep caption DATASET --caption.face_caption.file faces.csv",
        ),
        places=("dataset",),
        run=_caption,
        add_own=_caption_options,
        configured=True,
        retries=True,
        uses=("caption", "caption_cache", "address"),
    ),
    "encode": Command(
        help="stores encoders' hidden states",
        about="Reads titles, captions, covers or frames. Writes states/TOWER/ for each tower.",
        examples=(
            "python -m prep encode demo/dataset",
            "python -m prep encode DATASET --encode.cover.encoder google/vit-base-patch16-224 \\\n"
            "      --encode.cover.source cover",
        ),
        places=("dataset",),
        run=_encode,
        configured=True,
        retries=True,
        uses=("encode", "features", "address"),
    ),
    "estimate": Command(
        help="estimates the time, disk and memory of a build",
        about="Builds a sample of a dump in a temporary folder, and writes nothing else.",
        examples=("python -m prep estimate demo/dump",),
        places=("dump",),
        run=_estimate,
        configured=True,
    ),
    "check": Command(
        help="checks a dataset: prints its counts, or what is broken",
        about="Reads every table of a dataset and writes nothing. Exits with 1 if anything is broken.",
        examples=(
            "python -m prep check demo/dataset",
            "python -m prep check demo/dataset --json",
            "python -m prep check demo/dataset --dump demo/dump",
        ),
        places=("dataset",),
        run=_check,
        add_own=_check_options,
    ),
    "export": Command(
        help="writes a tower as a NumPy file with its ids",
        about="Reads states/TOWER/. Writes one float32 vector per item, for RecBole, MMRec and others.",
        examples=("python -m prep export demo/dataset title title.npy --layer mean",),
        places=("dataset", "tower", "file"),
        run=_export,
        add_own=_export_options,
    ),
    "audit": Command(
        help="lists what in a dataset changes results: order, leakage, duplicates, bots",
        about=(
            "Reads a dataset's tables and writes nothing. Each finding states what it does to a result, and a verdict says "
            "whether the dataset is fit for a paper. report.json has the same figures under audit."
        ),
        examples=("python -m prep audit demo/dataset", "python -m prep audit demo/dataset --json"),
        places=("dataset",),
        run=_audit,
    ),
    "report": Command(
        help="writes report.html and report.json: problems and statistics of a dataset",
        about="Reads a dataset's tables and writes both files into it, as `build` does at its end.",
        examples=("python -m prep report demo/dataset",),
        places=("dataset",),
        run=_report,
    ),
}
