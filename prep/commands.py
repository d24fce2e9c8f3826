"""The words after `python -m prep`: what each is told, does and answers."""

import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace

import prep
from prep.check import count, describe
from prep.checks.files import without_checksums
from prep.config import PrepConfig
from prep.sample import COUNT, PAGE
from toolkit.console.colours import painted
from toolkit.console.terminal import Answer
from toolkit.errors import UserError

CONFIG_NAME = "prep.yaml"
PLACES = {
    "out": "folder to write, absent or empty",
    "dump": "folder of what was downloaded",
    "dataset": "folder that prep writes",
    "tower": "name of a stored tower",
    "file": "OUT.npy to write; the ids go to OUT.ids.txt",
}


class Command(NamedTuple):
    """One word after `python -m prep`.

    Args:
        help: one line about it.
        about: what it reads and what it writes.
        examples: command lines that work after `make demo`.
        places: its positional arguments, of `PLACES`.
        run: what it does.
        configured: whether it takes the options of `PrepConfig`.
        retries: whether it takes --retry-failed.
        uses: keys of the configuration that it goes on from, where `dataset.json` has it.
    """

    help: str
    about: str
    examples: tuple[str, ...]
    places: tuple[str, ...]
    run: Callable[[Namespace], Answer]
    configured: bool = False
    retries: bool = False
    uses: tuple[str, ...] = ()


def _synth(options: Namespace) -> Answer:
    from prep.synth import write_dump

    asked = {name: options[name] for name in ("items", "users", "seed")}
    write_dump(options.out, **asked)
    text = f"wrote a synthetic dump; next: python -m prep build {options.out} DATASET"
    return Answer(text, {"dump": str(options.out), **asked})


def _build(options: Namespace) -> Answer:
    prep.build(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _ingest(options: Namespace) -> Answer:
    prep.ingest(options.dump, options.dataset, _config(options))
    return _written(options)


def _media(options: Namespace) -> Answer:
    prep.media(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


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
    found = prep.sample_captions(options.dataset, _config(options), count=size, html=html)
    text = f"{found}\n\npage: {html}" if html else str(found)
    return Answer(text, found.as_dict() if options.json else None)


def _encode(options: Namespace) -> Answer:
    prep.encode(options.dataset, _config(options), retry_failed=options.retry_failed)
    return _written(options)


def _check(options: Namespace) -> Answer:
    reasons = prep.check(options.dataset)
    if options.dump is not None:
        told = prep.check_sources(options.dataset, options.dump)
        reasons = list(dict.fromkeys([*reasons, *told]))
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
    found = {**_tables(options.dataset), "broken": [], "without_checksums": silent}
    return Answer(text, found)


def _export(options: Namespace) -> Answer:
    ids = prep.export_tower(options.dataset, options.tower, options.file, layer=options.layer)
    text = f"wrote {options.file} and {ids}: row r is of the item on line r"
    return Answer(text, {"file": str(options.file), "ids": str(ids)})


def _report(options: Namespace) -> Answer:
    facts = prep.report(options.dataset)
    pages = {name: str(options.dataset / f"report.{name}") for name in ("html", "json")}
    return Answer("", {"dataset": str(options.dataset), **pages, "verdict": facts["verdict"]})


def _estimate(options: Namespace) -> Answer:
    found = prep.estimate(options.dump, _config(options))
    totals = {name: getattr(found, name) for name in ("seconds", "disk_bytes", "memory_bytes")}
    return Answer(str(found), {**asdict(found), **totals})


def _written(options: Namespace) -> Answer:
    """Of steps, which have said on the way what they did."""
    return Answer("", _tables(options.dataset) if options.json else None)


def _tables(dataset: Path) -> dict[str, Any]:
    tables = {name: {"rows": rows, **words} for name, (rows, words) in count(dataset).items()}
    return {"dataset": str(dataset), "tables": tables}


def _config(options: Namespace) -> PrepConfig:
    return PrepConfig(**{key.name: options[key.name] for key in fields(PrepConfig)})


COMMANDS = {
    "synth": Command(
        help="writes a synthetic dump",
        about=(
            "Draws covers and video clips and makes up titles, users and likes whose taste is known, in "
            "MicroLens' own layout. OUT/prep.yaml names encoders that need no download."
        ),
        examples=("python -m prep synth small --items 50 --users 200",),
        places=("out",),
        run=_synth,
    ),
    "build": Command(
        help="every step in order: ingest, media, caption, encode, report",
        about=(
            "Reads a dump and writes a dataset. A run that was stopped goes on where it was; what is done "
            "is not done again. Broken files do not stop it: `errors/` and report.html tell of them."
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
        about="Reads a dump's tables; writes items/, interactions/, comments/ and dataset.json.",
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
        about="Reads a dump's pictures and clips; writes covers/ and frames/, after `ingest`.",
        examples=("python -m prep media demo/dump demo/dataset",),
        places=("dump", "dataset"),
        run=_media,
        configured=True,
        retries=True,
    ),
    "caption": Command(
        help="says in words what covers and clips show",
        about=(
            "Reads covers/ and frames/; writes captions/NAME/ with what a vision-language model says of "
            "each. --sample looks at a few before days of work."
        ),
        examples=(
            "python -m prep caption demo/dataset --sample 5 --html",
            "python -m prep caption demo/dataset",
        ),
        places=("dataset",),
        run=_caption,
        configured=True,
        retries=True,
        uses=("caption", "caption_cache", "address"),
    ),
    "encode": Command(
        help="stores encoders' hidden states",
        about="Reads titles, captions, covers or frames; writes states/TOWER/ for each tower.",
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
        help="says what a build would take: time, disk, memory",
        about="Does a sample of a dump in a temporary folder, and writes nothing.",
        examples=("python -m prep estimate demo/dump",),
        places=("dump",),
        run=_estimate,
        configured=True,
    ),
    "check": Command(
        help="is a dataset whole? prints its counts, or what is broken",
        about="Reads every table of a dataset and writes nothing. Status 1 if anything is broken.",
        examples=(
            "python -m prep check demo/dataset",
            "python -m prep check demo/dataset --json",
            "python -m prep check demo/dataset --dump demo/dump",
        ),
        places=("dataset",),
        run=_check,
    ),
    "export": Command(
        help="writes a tower as a NumPy file with its ids",
        about="Reads states/TOWER/; writes one vector an item, float32, for RecBole, MMRec and others.",
        examples=("python -m prep export demo/dataset title title.npy --layer mean",),
        places=("dataset", "tower", "file"),
        run=_export,
    ),
    "report": Command(
        help="writes report.html and report.json: what is wrong with the dump",
        about="Reads a dataset's tables and writes both into it; `build` does so at its end.",
        examples=("python -m prep report demo/dataset",),
        places=("dataset",),
        run=_report,
    ),
}
