"""What a service needs of a trained model: `python -m models export RUN OUT.npy [--index OUT.faiss]`.

N items, E embedding, S users.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.inputs.histories import dataset_histories
from models.runs.run import load
from models.runs.trained import TrainedRecommender
from toolkit.atomic import write_atomically
from toolkit.errors import UserError
from toolkit.vectors import ids_beside, write_vectors

if TYPE_CHECKING:
    import faiss

Kind = Literal["flat", "hnsw"]
HNSW_LINKS = 32  # of an item to its neighbours
HNSW_EFFORT = 200  # items looked at when one is added, and as many when one is searched


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
    """Writes the embedding of every item, (N, E) float32, and beside it the ids: row r is of line r.

    Items come in the order of the dataset's numbers, item 1 first; there is no row of padding. The dot
    product of a user's state with them is the score.

    Args:
        run: run folder.
        file: to write, OUT.npy; the ids go to OUT.ids.txt.
        index: FAISS index to write, by inner product, of the items that `recommend` ranks (of a run's own
            dataset, the catalogue); what it finds are rows of OUT.npy.
        kind: of the index: `flat` searches exactly, `hnsw` approximately and faster.
        users: to write, likewise, the state of every user of the dataset, (S, E), after all interactions.
        data: another dataset with the run's towers (`models.runs.run.load`).
        device: where to compute.

    Returns:
        The files: `items`, `item ids` and, if asked for, `index`, `users`, `user ids`.

    Raises:
        UserError: if the run cannot be loaded, FAISS is not installed, or a file cannot be written so.
    """
    if kind not in get_args(Kind):
        raise UserError(f"--kind {kind}: choose from {', '.join(get_args(Kind))}")
    # What is wrong is told before anything is computed.
    if users is not None and ids_beside(users) == ids_beside(file):
        raise UserError(f"{users}: items and users cannot go to one file; call them differently")
    ids_beside(file)
    if index is not None:
        _faiss()
    trained = load(run, data=data, device=device)
    vectors = trained.item_embeddings()[1:].numpy()
    files = _write("item", file, trained.dataset.item_ids.ids, vectors)
    if index is not None:
        files["index"] = Path(index)
        _write_index(files["index"], trained, vectors, kind)
    if users is not None:
        histories = dataset_histories(trained.dataset)
        states = trained.user_states(histories).numpy()
        files |= _write("user", users, histories.user_ids.to_pylist(), states)
    return files


def build_index(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], *, kind: Kind = "flat"
) -> "faiss.IndexIDMap":
    """A FAISS index by inner product.

    Args:
        vectors: (N, E).
        rows: of those to index; what a search gives.
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


def _write(
    what: str, file: str | Path, ids: Sequence[str], vectors: NDArray[np.float32]
) -> dict[str, Path]:
    names = write_vectors(file, ids, [vectors], width=vectors.shape[1])
    return {f"{what}s": Path(file), f"{what} ids": names}


def _write_index(
    file: Path, trained: TrainedRecommender, vectors: NDArray[np.float32], kind: Kind
) -> None:
    ranked = np.flatnonzero(trained.catalogue.column.cpu().numpy() >= 0) - 1
    whole = _faiss().serialize_index(build_index(vectors, ranked, kind=kind))
    write_atomically(file, lambda out: out.write(whole.data))


def _faiss() -> Any:
    try:
        import faiss  # here: it is optional
    except ImportError:
        raise UserError(
            'an index needs FAISS, which is not installed; pip install "versa-toolkit[faiss]"'
        ) from None
    return faiss
