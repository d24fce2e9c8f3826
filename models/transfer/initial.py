"""The initial weights of a run that begins with those of another model, and how a resumed run does without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.items import TrainedEncoders
from models.recommender import Model
from models.runs.files import ENVIRONMENT, read_environment
from models.runs.lineage import Lineage
from models.training.checkpoints import checkpoint_files
from models.transfer.move import move
from models.transfer.sources import open_source
from toolkit.errors import UserError


class InitialWeights:
    """Gives a new model the weights of a source, as `models.build.build` calls it.

    Args:
        source: run, model folder, name on the hub, or checkpoint of the public code; empty for new weights.
        parts: `all`, or names of parts.
        recorded: lineage that the run has recorded, if it began before.
        stored: whether a checkpoint holds the run's weights, so that the source is not needed.
    """

    def __init__(
        self,
        source: str,
        parts: Sequence[str],
        *,
        recorded: Lineage | None = None,
        stored: bool = False,
    ) -> None:
        self.source = source
        self.parts = parts
        self.stored = stored
        self.lineage = recorded

    def __call__(self, model: Model) -> None:
        """Moves the weights into a model, in place; of a run with checkpoints, it prepares the model to read these.

        Raises:
            UserError: if the weights cannot move, or the source has changed since the run began.
        """
        if not self.source:
            return
        if self.stored:
            items = model.item_encoder
            if self.lineage is not None and isinstance(items, TrainedEncoders):
                items.keep_base(self.lineage.own_base)
            return
        began = self.lineage
        self.lineage = move(model, open_source(self.source, model), self.parts)
        if began is not None and began.weights_sha256 != self.lineage.weights_sha256:
            raise UserError(
                f"init_from {self.source}: the run began with weights whose SHA-256 is {began.weights_sha256}, and they "
                f"are now {self.lineage.weights_sha256}; restore them, or start a new run in another folder"
            )

    @property
    def record(self) -> dict[str, Any] | None:
        """The lineage as environment.json has it."""
        return None if self.lineage is None else self.lineage.record()

    def keeps_random(self, part: str) -> bool:
        """Whether a part of the model begins with random weights."""
        if self.source and self.lineage is None:  # an older version recorded no lineage
            return False
        return self.lineage is None or part not in self.lineage.taken


def initial_weights(
    source: str, parts: Sequence[str], run: Path, *, resume: bool
) -> InitialWeights:
    """The initial weights of a run, which may have begun before.

    Args:
        source: as in `InitialWeights`.
        parts: as in `InitialWeights`.
        run: run folder.
        resume: whether a run in it is to be resumed.
    """
    recorded = read_environment(run) if resume and (run / ENVIRONMENT).is_file() else {}
    lineage = recorded.get("lineage")
    return InitialWeights(
        source,
        parts,
        recorded=Lineage.of_record(lineage) if lineage else None,
        stored=resume and bool(checkpoint_files(run)),
    )
