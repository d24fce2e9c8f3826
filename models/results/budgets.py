"""Budgets of runs: tried settings, epochs and seconds, and whether runs that are compared had the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.runs.files import CONFIG, log_lines, read_environment, read_run_config

_UNKNOWN = "–"


@dataclass(frozen=True)
class Budget:
    """What a run could spend, and what it spent. None stands for what its records do not state.

    Args:
        trials: number of settings that its method tried, if the run is part of a study (`models.study`).
        max_epochs: maximum number of epochs; None for a model without epochs.
        epochs: number of epochs; None for a model without epochs.
        max_seconds: maximum seconds of training; 0 for no limit.
        seconds: seconds of training.
        patience: evaluations without improvement that end the run; None for a model without epochs.
    """

    trials: int | None
    max_epochs: int | None
    epochs: int | None
    max_seconds: float
    seconds: float | None
    patience: int | None

    @property
    def cells(self) -> list[str]:
        """Trials, epochs and seconds as cells of a table, epochs and seconds with their ceiling."""
        epochs = _UNKNOWN if self.epochs is None else f"{self.epochs} of {self.max_epochs}"
        seconds = _UNKNOWN if self.seconds is None else f"{self.seconds:,.1f}"
        ceiling = f" of {self.max_seconds:,g}" if self.max_seconds else ""
        return [_UNKNOWN if self.trials is None else str(self.trials), epochs, seconds + ceiling]


def read_budget(run: Path) -> Budget | None:
    """The budget of a run; None if the folder has no config.

    Raises:
        UserError: if a file of the run is damaged.
    """
    if not (run / CONFIG).is_file():
        return None
    config, lines = read_run_config(run), log_lines(run)
    study = read_environment(run).get("study")
    trials = study.get("trials") if isinstance(study, dict) else None
    evaluated = [line for line in lines if "valid" in line]
    trained = [line["trained_seconds"] for line in lines if "trained_seconds" in line]
    by_epoch = [line["train_seconds"] for line in evaluated if "train_seconds" in line]
    if not trained and by_epoch and config.train.evaluate_every == 1:
        trained = [sum(by_epoch)]
    has_epochs = config.general_kind is None or config.general_kind.trains
    return Budget(
        trials=trials if isinstance(trials, int) else None,
        max_epochs=config.train.epochs if has_epochs else None,
        epochs=max((line["epoch"] for line in evaluated), default=0) if has_epochs else None,
        max_seconds=config.train.max_seconds,
        seconds=trained[-1] if trained else None,
        patience=config.train.patience if has_epochs else None,
    )


def unequal_budgets(names: Sequence[str], budgets: Sequence[Budget | None]) -> list[str]:
    """A sentence per ceiling that differs between runs. Models without epochs have no ceiling of epochs.

    Args:
        names: names of the runs.
        budgets: their budgets; None for unknown ones.
    """
    known = [(name, budget) for name, budget in zip(names, budgets, strict=True) if budget]
    trained = [(name, budget) for name, budget in known if budget.max_epochs is not None]
    tried = [budget.trials for _, budget in known]
    compared = {
        "maximum number of epochs": [(name, str(b.max_epochs)) for name, b in trained],
        "patience": [(name, str(b.patience)) for name, b in trained],
        "maximum seconds of training": [(n, f"{b.max_seconds:g}" if b.max_seconds else "no limit") for n, b in trained],
        "number of tried settings": [(n, _UNKNOWN if b.trials is None else str(b.trials)) for n, b in known]
        if any(trials is not None for trials in tried) else [],
    }  # fmt: skip
    return [
        f"Unequal budgets: the runs differ in the {what}: "
        + ", ".join(f"{value} ({name})" for name, value in values)
        + "."
        for what, values in compared.items()
        if len({value for _, value in values}) > 1
    ]
