"""Audits a dataset: what in it changes a result without being a result, and whether it is fit for a paper."""

import tempfile
from pathlib import Path
from typing import Any

from prep.reporting.audit.describe import collect
from prep.reporting.audit.figures import figures
from prep.reporting.tables import MEMORY_GIB
from prep.steps.database import engine
from toolkit import open_dataset


def audit(dataset: str | Path) -> dict[str, Any]:
    """The audit of a dataset: figures, findings and a verdict. Writes nothing into the dataset.

    `report` stores the same under `audit` in `report.json`. Figures that need times are None without them. Memory is
    independent of the number of interactions, but for 8 bytes per user and a few numbers per item.

    Args:
        dataset: dataset folder.

    Raises:
        UserError: if the folder is not a dataset, or one of its tables cannot be read.
    """
    data = open_dataset(dataset)
    with (
        tempfile.TemporaryDirectory() as folder,
        engine(Path(folder) / "audit", memory_gib=MEMORY_GIB) as connection,
    ):
        connection.register("items", data.items)
        return collect(data, connection).audit


def in_words(name: str, audit: dict[str, Any]) -> str:
    """An audit as text: verdict, findings, figures.

    Args:
        name: name of the dataset.
        audit: result of `audit`.
    """
    verdict = audit["verdict"]
    reasons = f": {', '.join(verdict['reasons'])}" if verdict["reasons"] else ""
    lines = [f"{name}: {verdict['line']}{reasons}"]
    for finding in audit["findings"]:
        lines += ["", f"{finding['severity']} ({finding['kind']}): {finding['what']}"]
        lines += [f"  effect: {finding['effect']}", f"  advice: {finding['advice']}"]
    shown = figures(audit)
    width = max(map(len, shown))
    return "\n".join([*lines, "", *(f"{label:{width}}  {value}" for label, value in shown.items())])
