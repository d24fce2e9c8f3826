"""Tests a run: on the subjects of its fold, or on another dataset, on the AUs that both have."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.facial.config import FaceConfig, read_face_config
from models.facial.fold import (
    Rows,
    are_faces_of,
    describe_faces,
    refuse_seen,
    rows_of_fold,
    subjects_of,
)
from models.facial.measure import Labelled, measure, predictions_table, refuse_without_extra
from models.facial.pictures import Pictures
from models.facial.pretrained import from_pretrained
from models.facial.recognise import describe
from models.facial.texts import Texts
from models.facial.trained import TrainedFaces
from models.machine.parallel import rank_and_world
from models.runs.folder import METRICS, MODEL
from toolkit.arguments import a_path, whole_number
from toolkit.errors import UserError
from toolkit.faces import Faces, open_faces
from toolkit.facs import MISSING
from toolkit.json_files import read_json_object, write_json
from toolkit.store import write_table

PREDICTIONS = "faces"  # folder of a run
TEST = "test"  # name of the files of the run's own fold
DATASET = "dataset"


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    other_people: bool = False,
    device: str = "cpu",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Tests a run and writes metrics/NAME.json and faces/NAME.arrow.

    NAME is `test` for the run's own fold, and `cross-` with the name of the dataset for another one, all of whose faces are
    then tested.

    Args:
        run: run folder.
        data: a dataset; by default that of the run. The dataset of the run may have moved.
        other_people: states that subjects of another dataset with the names of training subjects are other people.
        device: of the network.
        batch_size: faces at a time; by default that of the training, whose test is then repeated to the last bit.

    Returns:
        The report (`models.facial.measure.measure`).

    Raises:
        UserError: if there is no such run or dataset, both have no AU in common, a subject was trained on, or the run has
            a test on another dataset of that name.
    """
    run = a_path(run, name="run")
    if batch_size is not None:
        batch_size = whole_number(batch_size, name="batch_size")
    refuse_without_extra()
    config = read_face_config(run)
    trained = from_pretrained(run / MODEL)
    trained.network.to(device)
    batch_size = batch_size or config.train.batch_size
    faces = open_faces(data or config.data)
    identity = describe_faces(faces)
    if are_faces_of(trained.record.dataset, identity):
        return test(trained, config, faces, run, identity=identity, batch_size=batch_size)
    if data is None:
        raise UserError(
            f"{config.data}: has changed since {run} was trained on it; restore it, or pass another dataset with --data"
        )
    rows = np.flatnonzero(faces.table.column("image").is_valid().to_numpy())
    if not other_people:
        refuse_seen(
            trained.record.seen,
            subjects_of(faces, rows).tolist(),
            where=str(run),
            advice="test on others; if these are other people with the same names, add --other_people",
        )
    name = "cross-" + re.sub(r"[^A-Za-z0-9._-]+", "_", faces.name)
    _refuse_other_test(run / METRICS / f"{name}.json", faces, identity)
    return _tested(
        trained, config, faces, rows, run, name=name, identity=identity, batch_size=batch_size
    )


def test(
    trained: TrainedFaces,
    config: FaceConfig,
    faces: Faces,
    run: Path,
    *,
    identity: Mapping[str, str],
    batch_size: int,
) -> dict[str, Any]:
    """Tests a network on the subjects of the run's fold; all processes call it.

    `identity` is the result of `describe_faces`.

    Raises:
        UserError: if the network was trained on one of them.
    """
    rows = rows_of_fold(faces, config.fold).test
    refuse_seen(
        trained.record.seen,
        subjects_of(faces, rows).tolist(),
        where=str(run),
        advice=f"test it on fold {trained.record.fold}",
    )
    return _tested(
        trained, config, faces, rows, run, name=TEST, identity=identity, batch_size=batch_size
    )


def labelled_faces(faces: Faces, rows: Rows, aus: tuple[int, ...]) -> Labelled:
    """The faces of some rows, with the labels of those AUs of a network that the dataset has too.

    Raises:
        UserError: if there are none, or none of their labels is known.
    """
    columns = [index for index, au in enumerate(aus) if au in faces.units]
    labels = faces.labels[rows][:, [faces.units.index(aus[index]) for index in columns]]
    if not columns or not (labels != MISSING).any():
        raise UserError(
            f"{faces.path}: has labels of AUs {_listed(faces.units)}, and the network recognises {_listed(aus)}; expected "
            "a dataset with labels of one of these"
        )
    parts = faces.table.select(["item_id", "subject", "sequence"]).take(rows)
    named = {name: parts.column(name).to_pylist() for name in parts.column_names}
    return Labelled(named["item_id"], named["subject"], named["sequence"], labels, columns)


def _tested(
    trained: TrainedFaces,
    config: FaceConfig,
    faces: Faces,
    rows: Rows,
    run: Path,
    *,
    name: str,
    identity: Mapping[str, str],
    batch_size: int,
) -> dict[str, Any]:
    tested = labelled_faces(faces, rows, trained.aus)
    vocabulary = trained.network.vocabulary
    of_network = np.full((len(rows), len(trained.aus)), MISSING, np.int8)
    of_network[:, tested.columns] = tested.labels
    recognised = describe(
        trained.network,
        Pictures(faces, trained.record.view),
        rows.tolist(),
        batch_size=batch_size,
        precision=config.train.mixed_precision,
        beams=config.train.beams,
        labels=of_network,
        texts=Texts(trained.facs, vocabulary) if vocabulary else None,
    )
    head = {
        "split": name,
        "fold": config.fold if name == TEST else None,
        DATASET: dict(identity),
        "trained_on": dict(trained.record.dataset),
    }
    report = {**head, **measure(trained, tested, recognised)}
    if rank_and_world()[0] == 0:
        (run / PREDICTIONS).mkdir(exist_ok=True)
        (run / METRICS).mkdir(exist_ok=True)
        table = predictions_table(trained, tested, recognised)
        write_table(run / PREDICTIONS / f"{name}.arrow", table, compression="zstd")
        write_json(run / METRICS / f"{name}.json", report)
    return report


def _refuse_other_test(report: Path, faces: Faces, identity: Mapping[str, str]) -> None:
    """Refuses to replace a test on another dataset of the same name."""
    if report.exists() and not are_faces_of(read_json_object(report)[DATASET], identity):
        raise UserError(
            f"{report}: is a test on other faces than those of {faces.path}, whose dataset has the same name "
            f"{faces.name!r}; give a dataset another name (prep faces --name), or move the file away"
        )


def _listed(aus: tuple[int, ...]) -> str:
    return ", ".join(map(str, aus))
