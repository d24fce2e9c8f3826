"""Copies a dataset with its items permuted in all interactions: a control, in which content means nothing."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from prep.steps import manifest
from toolkit import open_dataset
from toolkit.arguments import a_path, whole_number
from toolkit.errors import UserError
from toolkit.store import Table

_STEP = "ingest"  # which writes the interactions


def permute_items(dataset: str | Path, folder: str | Path, *, seed: int = 0) -> Path:
    """Writes a copy of a dataset in which each item takes the interactions of another, drawn at random.

    Users, times, the lengths of histories and the distribution of popularity stay as they are, and so do titles, pictures
    and states of every item. What a model learns of content from the copy is therefore noise. A run on it is the control of
    a source of transfer. `dataset.json` of the copy records the seed, and `build` does not continue the copy.

    Args:
        dataset: dataset folder of interactions.
        folder: folder to write; must not exist.
        seed: of the permutation.

    Returns:
        The folder.

    Raises:
        UserError: if `dataset` is no finished dataset of interactions, or the folder exists.
    """
    source, folder = open_dataset(dataset), a_path(folder, name="folder")
    seed = whole_number(seed, name="seed", least=0)
    done = manifest.require_interactions(source.path)["steps"].get(_STEP, {"config": {}})
    if folder.exists():
        raise UserError(f"{folder}: exists; choose another folder for the permuted copy")
    unfinished = folder.with_name(f".{folder.name}.permuting")
    shutil.rmtree(unfinished, ignore_errors=True)
    left_out = shutil.ignore_patterns("interactions", "report.html", "report.json", ".*")
    shutil.copytree(source.path, unfinished, ignore=left_out)
    drawn = np.random.default_rng(seed).permutation(source.items.num_rows)
    number_of = np.concatenate([[0], drawn + 1]).astype(np.int32)
    written = Table(unfinished / "interactions")
    for _, table in Table(source.path / "interactions").tables():
        column = table.schema.get_field_index("item")
        items = pa.array(number_of[table.column("item").to_numpy()])
        written.append(table.set_column(column, table.schema.field(column), items))
    facts = {key: value for key, value in done.items() if key not in ("config", "config_hash")}
    config = {**done["config"], "items_permuted": seed}
    manifest.record_step(unfinished, _STEP, config, **facts)
    unfinished.rename(folder)
    return folder
