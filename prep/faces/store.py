"""The command `prep faces`: reads a dump of faces and writes it as a dataset.

Step `lists` reads labels, folds and subjects, and writes `errors/lists-*.arrow` and `dataset.json`. Step `faces` stores a row
per picture in `faces/`. A rerun does the rows that are missing.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.executors import processes
from prep.faces import disfa, lists
from prep.faces.config import FacesConfig
from prep.faces.crops import read_crops
from prep.faces.pictures import make_faces
from prep.faces.raw import STEP, RawFaces, as_table
from prep.pictures.watchdog import sharing
from prep.readers.files import fingerprint
from prep.steps import checksums, manifest, problems
from prep.steps.pipeline import Step, run_step
from prep.steps.writing import clear_temporary, refuse_foreign, refuse_one_folder, writing
from toolkit import schema
from toolkit.checksums import ERRORS, NOTES, SHARDS
from toolkit.errors import UserError
from toolkit.faces import AUS, FOLDER, KIND
from toolkit.json_files import MANIFEST, SEAL
from toolkit.lock import LOCKS
from toolkit.store import write_table
from toolkit.versions import versions

SHARD_ROWS = 512


@dataclass(frozen=True)
class _Layout:
    """A layout of dumps of faces: `find` returns its folder or None, `read` reads it."""

    find: Callable[[Path], Path | None]
    read: Callable[[Path, tuple[int, ...]], RawFaces]
    wants: str


LAYOUTS = {
    "lists": _Layout(lists.find, lists.read, lists.WANTS),
    "disfa": _Layout(disfa.find, disfa.read, disfa.WANTS),
}


@sharing()
def faces(
    dump: str | Path,
    dataset: str | Path,
    config: FacesConfig | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """Writes `faces/`, `errors/` and `dataset.json`.

    A rerun with the same configuration and lists resumes an interrupted run.

    Args:
        dump: folder of the dump, in the layout of ME-GraphAU's lists or of DISFA's own files.
        dataset: folder to write.
        config: settings.
        retry_failed: whether to retry pictures whose status is not ok.

    Raises:
        UserError: if the dump cannot be read, the dataset was made from other input, or another process is writing it.
    """
    dump, dataset, config = Path(dump), Path(dataset), config or FacesConfig()
    raw = read_dump(dump, config)
    refuse_one_folder(dump, dataset)
    _refuse_other_folder(dataset)
    with writing(dataset, FOLDER):
        table = as_table(raw.faces, len(raw.units))
        settings: dict[str, Any] = {
            "layout": raw.layout,
            "name": config.name or raw.name,
            "folds": raw.folds,
            "aus": list(raw.units),
        }
        inputs = {name: fingerprint(path) for name, path in raw.files.items()}
        done = manifest.read(dataset)
        if done is None:
            _write_lists(dataset, raw, table, settings, inputs)
        else:
            _refuse_other(dataset, done, settings, inputs)
        step = _step(dump, raw, config)
        items = _with_crops(table, config)
        counts = run_step(
            dataset, step, items, execute=processes(config.workers), retry_failed=retry_failed
        )
        manifest.record_step(
            dataset, FOLDER, step.config, versions=versions("opencv-python", "pillow"), items=counts
        )


def read_dump(dump: Path, config: FacesConfig) -> RawFaces:
    """Reads the labels of a dump in the first layout that it has.

    Raises:
        UserError: if the folder does not exist, has no such layout, or the layout's reader refuses it.
    """
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    for layout in LAYOUTS.values():
        folder = layout.find(dump)
        if folder is not None:
            return _with_faces(layout.read(folder, config.units))
    wanted = ", or ".join(f"{layout.wants} ({name})" for name, layout in LAYOUTS.items())
    raise UserError(f"{dump}: no dump of faces found; expected {wanted}; check the folder")


def _with_faces(raw: RawFaces) -> RawFaces:
    """The dump itself, unless every line of it was left out.

    Raises:
        UserError: with the first line that was left out.
    """
    if not raw.faces:
        reason = next((f": {problem.message}" for problem in raw.problems), "")
        raise UserError(
            f"{raw.folder.parent}: no face can be read{reason}; expected paths relative to {raw.folder.name}/, with /"
        )
    return raw


def _write_lists(
    dataset: Path,
    raw: RawFaces,
    table: pa.Table,
    settings: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    clear_temporary(dataset, re.escape(MANIFEST))
    checksums.forget_notes(dataset, STEP)  # of a killed run
    rows = problems.table(STEP, list(raw.problems))
    write_table(_errors_path(dataset), rows, compression="zstd")
    counts = {
        "faces": table.num_rows,
        "subjects": len(table.column("subject").unique()),
        "folds": len(table.column("fold").drop_null().unique()),
    }
    errors = dict(Counter(problem.error_class for problem in raw.problems))
    entry = {
        "config": settings,
        "config_hash": manifest.config_hash(settings),
        "inputs": inputs,
        "errors": errors,
    }
    finished = {
        "schema_version": schema.SCHEMA_VERSION,
        "kind": KIND,
        "name": settings["name"],
        "counts": counts,
        "steps": {STEP: entry},
        "config": {},
        SHARDS: checksums.settle(dataset, STEP, {}),
        SEAL: "",
    }
    manifest.create(dataset, finished)
    checksums.forget_notes(dataset, STEP)
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"lists: {raw.layout}, {listed}{problems.summary(errors)}")


def _errors_path(dataset: Path) -> Path:
    return dataset / ERRORS / f"{STEP}-00000.arrow"


def _step(dump: Path, raw: RawFaces, config: FacesConfig) -> Step:
    aus = ",".join(map(str, raw.units))
    stored = schema.faces(len(raw.units)).with_metadata({AUS: aus})
    work = partial(
        make_faces,
        stored=stored,
        dump=dump.absolute(),
        folder=raw.folder.absolute(),
        size_px=config.size_px,
        limit_seconds=config.picture_seconds,
    )
    settings: dict[str, Any] = {"size_px": config.size_px}
    if config.crops is not None:
        settings["crops"] = fingerprint(Path(config.crops))["sha256"]
    return Step(FOLDER, FOLDER, stored, settings, work, SHARD_ROWS)


def _with_crops(table: pa.Table, config: FacesConfig) -> pa.Table:
    kind = schema.faces(1).field("crop").type
    boxes = {} if config.crops is None else read_crops(Path(config.crops))
    ids = table.column("item_id").to_pylist()
    if boxes:
        _refuse_no_box(ids, boxes, Path(config.crops or ""))
    return table.append_column("crop", pa.array([boxes.get(id_) for id_ in ids], kind))


def _refuse_no_box(ids: list[str], boxes: dict[str, Any], path: Path) -> None:
    without = [id_ for id_ in ids if id_ not in boxes]
    if without:
        raise UserError(
            f"{path}: has no box for {len(without):,} of {len(ids):,} faces, such as {without[0]}; add them, or take "
            "these faces off the lists"
        )


def _refuse_other_folder(dataset: Path) -> None:
    """Refuses a folder that holds anything except a dataset of faces or the files of an unfinished run."""
    if dataset.exists() and not dataset.is_dir():
        raise UserError(f"{dataset} is a file; choose a folder for the dataset")
    done = manifest.read(dataset)
    if done is not None:
        if done.get("kind") != KIND:
            raise UserError(
                f"{dataset} is a dataset of another kind; choose an empty or a new folder"
            )
        return
    ours = re.compile(
        rf"{ERRORS}|{re.escape(LOCKS)}|\.{re.escape(MANIFEST)}\.\d+\.tmp|"
        rf"\.{ERRORS}-{STEP}{re.escape(NOTES)}"
    )
    names = sorted(path.name for path in dataset.iterdir()) if dataset.exists() else []
    others = [name for name in names if not ours.fullmatch(name)]
    refuse_foreign(dataset / ERRORS, names=rf"{STEP}-\d{{5,}}\.arrow")
    if others:
        raise UserError(
            f"{dataset} holds {', '.join(others[:3])} but no {MANIFEST}: not a dataset; "
            "choose an empty or a new folder"
        )


def _refuse_other(
    dataset: Path, done: dict[str, Any], settings: dict[str, Any], inputs: dict[str, Any]
) -> None:
    recorded = manifest.part(done, "steps", STEP, "config", dataset=dataset)
    known = manifest.part(done, "steps", STEP, "inputs", dataset=dataset)
    afresh = f"write into another folder or delete {dataset}"
    manifest.refuse_change(recorded, settings, where=str(dataset), afresh=afresh)
    manifest.refuse_other_inputs(known, inputs, where=str(dataset), afresh=afresh)
