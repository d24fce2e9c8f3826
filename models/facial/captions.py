"""Captions of the faces in a dataset of micro-videos, as `prep caption --caption.NAME.file` imports them.

S pixels of a crop's side.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models.facial.detector import load_detector
from models.facial.face import Detector
from models.facial.inference import DETECTOR, load_trained, refuse_other_aus
from models.facial.trained import TrainedFaces
from toolkit.atomic import write_atomically
from toolkit.dataset import INTERACTIONS, Dataset, open_dataset
from toolkit.digests import sha256_of
from toolkit.errors import UserError
from toolkit.images import decode_jpeg
from toolkit.json_files import MANIFEST
from toolkit.spreadsheets import defused

Source = Literal["cover", "frames"]
SCHEMA = pa.schema(
    {name: pa.string() for name in ("item_id", "text", "model", "revision", "status", "message")}
)
_ITEMS_AT_ONCE = 64


def is_dataset(path: Path) -> bool:
    """Whether a path is a dataset that prep wrote."""
    return (path / MANIFEST).is_file()


def write_captions(
    path: Path,
    run: Path,
    output: Path,
    *,
    source: Source = "cover",
    detector: str = DETECTOR,
    batch_size: int = 32,
    device: str = "cpu",
    aus: Sequence[int] | None = None,
) -> dict[str, int]:
    """Writes a caption of the face in each item, or an empty one with the status `empty` where no face is found.

    The face is the one with the highest confidence. Of several frames, the most frequent text is kept, and of equally
    frequent ones the first.

    Args:
        path: dataset of micro-videos.
        run: run folder, model folder, or name on the hub.
        output: a .csv or .parquet file.
        source: `cover` or `frames` of the items.
        detector: name of the detector.
        batch_size: faces at a time.
        device: of the network.
        aus: numbers of the AUs that the network must recognise; None for any.

    Returns:
        The number of items by status.

    Raises:
        UserError: if the dataset has no items or pictures, the output has another suffix, or there is no such model.
    """
    write = _WRITERS.get(output.suffix.lower())
    if write is None:
        raise UserError(
            f"{output}: captions are written to {' or '.join(_WRITERS)}; change the suffix of the file"
        )
    data = open_dataset(path)
    if data.kind != INTERACTIONS:
        raise UserError(
            f"{path}: a dataset of {data.kind}, expected one of micro-videos; test on faces with evaluate RUN --data"
        )
    found, trained = load_detector(detector), load_trained(run, device=device)
    refuse_other_aus(trained, aus, where=str(run))
    revision = {"model": f"vl-fau:{run.name}", "revision": _revision_of(run)}
    rows = [{**revision, **row} for row in _captions(data, source, found, trained, batch_size)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_atomically(output, lambda file: write(table, file))
    return dict(Counter(row["status"] for row in rows))


def _captions(
    data: Dataset, source: Source, detector: Detector, trained: TrainedFaces, batch_size: int
) -> Iterator[dict[str, str]]:
    reader, ids = data.source_reader(source), data.items.column("item_id").to_pylist()
    recipe = trained.recipe.without_margin() if detector.finds_crops else trained.recipe
    for start in range(0, len(ids), _ITEMS_AT_ONCE):
        some = ids[start : start + _ITEMS_AT_ONCE]
        numbers = range(start + 1, start + 1 + len(some))
        crops: list[Any] = []
        owners: list[int] = []
        for owner, value in enumerate(reader.read(np.asarray(numbers)).to_pylist()):
            for picture in [value] if isinstance(value, bytes) else value or []:
                pixels = decode_jpeg(picture)
                crops += [recipe.crop(pixels, face) for face in detector.faces(pixels)[:1]]
                owners += [owner] * (len(crops) - len(owners))
        texts = _texts(trained, crops, batch_size)
        for index, item_id in enumerate(some):
            own = [text for owner, text in zip(owners, texts, strict=True) if owner == index]
            yield _row(item_id, own)


def _texts(trained: TrainedFaces, crops: list[Any], batch_size: int) -> list[str]:
    """The text about each face: that of the network, or the phrases of the AUs that it recognises if it has none."""
    texts: list[str] = []
    for start in range(0, len(crops), batch_size):
        predicted = trained.predict(np.stack(crops[start : start + batch_size]))
        active = predicted.probabilities >= np.asarray(trained.thresholds)
        named = [trained.facs.face_text(np.asarray(trained.aus)[row].tolist()) for row in active]
        texts += predicted.face_texts if predicted.face_texts is not None else named
    return texts


def _row(item_id: str, texts: list[str]) -> dict[str, str]:
    if not texts:
        return {"item_id": item_id, "text": "", "status": "empty", "message": "no face is found"}
    return {"item_id": item_id, "text": Counter(texts).most_common(1)[0][0], "status": "ok", "message": ""}  # fmt: skip


def _revision_of(run: Path) -> str:
    """The digest of the weights; the name for a model on the hub."""
    files = [path for path in (run / "model" / "model.safetensors", run / "model.safetensors") if path.is_file()]  # fmt: skip
    return sha256_of(files[0]) if files else str(run)


_WRITERS: dict[str, Any] = {
    ".csv": lambda table, file: pa.csv.write_csv(defused(table), file),
    ".parquet": lambda table, file: pa.parquet.write_table(table, file, compression="zstd"),
}
