"""Exports the embeddings of a trained model for a service: `python -m models export RUN OUT.npy [--index OUT.faiss]`.

N items, E embedding, S users.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.inputs.histories import dataset_histories
from models.runs.run import load
from models.runs.trained import TrainedRecommender
from toolkit.arguments import refuse_one_file
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.vectors import ids_beside, write_vectors

if TYPE_CHECKING:
    import faiss

Kind = Literal["flat", "hnsw"]
HNSW_LINKS = 32  # neighbours per item (M)
HNSW_EFFORT = 200  # candidates per insertion and per search (efConstruction and efSearch)


def export_items(
    run: str | Path,
    file: str | Path,
    *,
    index: str | Path | None = None,
    kind: Kind = "flat",
    users: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
) -> dict[str, Path]:
    """Writes the embeddings of all items, (N, E) float32, and a text file of item ids: line r is the id of row r.

    Items are ordered by item number, from 1; there is no padding row. The score of an item for a user is the dot
    product of its embedding with the user's state.

    Args:
        run: run folder.
        file: output file OUT.npy; ids are written to OUT.ids.txt.
        index: output file of a FAISS inner-product index of the items that `recommend` ranks (for a run's own
            dataset, the catalogue). A search returns rows of OUT.npy.
        kind: kind of the index: `flat` searches exactly, `hnsw` approximately and faster.
        users: output file of the user states, (S, E), after all interactions, in the same format as `file`.
        data: another dataset with the run's towers (`models.runs.run.load`).
        device: device of the computation.

    Returns:
        The written files: `items`, `item ids` and, if requested, `index`, `users`, `user ids`.

    Raises:
        UserError: if the run cannot be loaded, FAISS is not installed, or a file cannot be written.
    """
    if kind not in get_args(Kind):
        raise UserError(f"--kind {kind}: choose from {', '.join(get_args(Kind))}")
    # Check all arguments before the computation.
    refuse_one_file(
        {
            "items": file,
            "item ids": ids_beside(file),
            "--index": index,
            "--users": users,
            "user ids": None if users is None else ids_beside(users),
        }
    )
    if index is not None:
        _faiss()
    trained = load(run, data=data, device=device)
    vectors = trained.item_embeddings()[1:].numpy()
    width = vectors.shape[1]
    item_ids = write_vectors(file, trained.dataset.item_ids.ids, [vectors], width=width)
    files = {"items": Path(file), "item ids": item_ids}
    if index is not None:
        files["index"] = Path(index)
        _write_index(files["index"], trained, vectors, kind)
    if users is not None:
        histories = dataset_histories(trained.dataset, times=trained.model.takes_times)
        blocks = (block.numpy() for block in trained.user_state_blocks(histories))
        user_ids = write_vectors(users, histories.user_ids.to_pylist(), blocks, width=width)
        files |= {"users": Path(users), "user ids": user_ids}
    return files


def build_index(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], *, kind: Kind = "flat"
) -> "faiss.IndexIDMap":
    """Builds a FAISS inner-product index.

    Args:
        vectors: (N, E).
        rows: rows of `vectors` to index, which are the ids that a search returns.
        kind: `flat` or `hnsw`.

    Raises:
        UserError: if FAISS is not installed.
    """
    faiss = _faiss()
    if kind == "flat":
        inner = faiss.IndexFlatIP(vectors.shape[1])
    else:
        inner = faiss.IndexHNSWFlat(vectors.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = inner.hnsw.efSearch = HNSW_EFFORT
    index = faiss.IndexIDMap(inner)
    index.add_with_ids(np.ascontiguousarray(vectors[rows]), rows)
    return index


def _write_index(
    file: Path, trained: TrainedRecommender, vectors: NDArray[np.float32], kind: Kind
) -> None:
    ranked = np.flatnonzero(trained.catalogue.column.cpu().numpy() >= 0) - 1
    serialized = _faiss().serialize_index(build_index(vectors, ranked, kind=kind))
    write_atomically(file, lambda out: out.write(serialized.data))


def _faiss() -> Any:
    try:
        import faiss  # an optional dependency
    except ImportError:
        raise UserError(
            'an index needs FAISS, which is not installed; pip install "versa-toolkit[faiss]"'
        ) from None
    return faiss
