"""The picture of each face as a JPEG: upright, cropped and scaled down."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.faces.crops import Box
from prep.pictures.pixels import Pixels, read_picture, shrink, to_jpeg
from prep.pictures.source import fingerprint
from prep.pictures.watchdog import ReadsFile, watched
from prep.readers.sniff import unreadable
from prep.steps.problems import ItemProblem


def make_faces(
    batch: pa.RecordBatch,
    *,
    stored: pa.Schema,
    dump: Path,
    folder: Path,
    size_px: int,
    limit_seconds: float | None = None,
) -> pa.Table:
    """One row per face of the batch: the columns of `stored`, and `message`.

    Args:
        batch: with the columns of `prep.faces.raw.as_table`, and `crop`; a null crop is the whole picture.
        stored: schema of the rows.
        dump: folder of the dump.
        folder: folder of the pictures.
        size_px: shorter side of a stored picture, in pixels.
        limit_seconds: time limit per picture, which is decoded in a process that is killed after it. None decodes in
            this process, without a limit.
    """
    read = watched(face_of, limit_seconds, setting="picture_seconds")
    roots = (folder.resolve(), dump.resolve())
    rows = [_row(read, row, roots, size_px) for row in batch.to_pylist()]
    return pa.Table.from_pylist(rows, schema=stored.append(pa.field("message", pa.string())))


def _row(
    read: ReadsFile, row: dict[str, Any], roots: tuple[Path, Path], size_px: int
) -> dict[str, Any]:
    try:
        path = _located(row["item_id"], roots)
        row |= fingerprint(path)
        return row | read(path, crop=row["crop"], size_px=size_px)
    except ItemProblem as problem:
        return {**row, "status": problem.status, "message": problem.message}


def _located(name: str, roots: tuple[Path, Path]) -> Path:
    """The file of a picture, inside the folder of pictures or the dump.

    Raises:
        ItemProblem: missing, empty, or unsafe if a link leads out of the dump.
    """
    try:
        path = (roots[0] / name).resolve(strict=True)
        size, is_file = path.stat().st_size, path.is_file()
    except (FileNotFoundError, NotADirectoryError):
        raise ItemProblem("missing", f"{name} is not in the dump") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = unreadable(Path(name), error) if isinstance(error, OSError) else f"{name}: {error}"
        raise ItemProblem("missing", reason) from None
    if not any(path.is_relative_to(root) for root in roots):
        raise ItemProblem("unsafe", f"{name} is a link out of the dump")
    if not is_file:
        raise ItemProblem("missing", f"{name} is not a file")
    if size == 0:
        raise ItemProblem("empty", f"{name} has zero bytes")
    return path


def face_of(path: Path, crop: Box | None, size_px: int) -> dict[str, Any]:
    """The columns of a face's row that depend on its picture.

    Raises:
        ItemProblem: if the file is not a readable picture, or the crop does not lie inside it.
    """
    pixels = read_picture(path).pixels
    height, width = pixels.shape[:2]
    box = tuple(crop) if crop else (0, 0, width, height)
    image = shrink(_cropped(path.name, pixels, box), size_px)
    height_px, width_px = image.shape[:2]
    return {
        "image": to_jpeg(image),
        "width_px": width_px,
        "height_px": height_px,
        "crop": list(box),
        "status": "ok",
    }


def _cropped(name: str, pixels: Pixels, box: tuple[int, ...]) -> Pixels:
    left, top, width, height = box
    whole_height, whole_width = pixels.shape[:2]
    if left < 0 or top < 0 or left + width > whole_width or top + height > whole_height:
        raise ItemProblem(
            "corrupt",
            f"the crop of {name}, {width}x{height} px at {left}, {top}, leaves the picture of "
            f"{whole_width}x{whole_height} px",
        )
    return pixels[top : top + height, left : left + width]
