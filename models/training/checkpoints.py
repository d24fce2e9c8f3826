"""Checkpoints: everything that the next step of a run depends on, so that a resumed run is the same run.

A checkpoint is one file, `checkpoints/step-00001234.safetensors`: model, optimizer and random state as tensors, and
the position of the run as JSON in the file's metadata. It is complete or absent, and its digest shows whether it has
changed since it was written. Nothing in it can execute.
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from models.machine.parallel import rank_and_world
from models.migrate import named_by_tower
from models.parameters import gathered, kept_state, load_kept_state, shard_like
from toolkit.atomic import write_atomically
from toolkit.errors import UserError

FOLDER = "checkpoints"
_FORMAT = "3"
_NUMBERED_TOWERS = (
    "2"  # towers have numbers in the names of weights (`models.migrate.named_by_tower`)
)
_TENSORS_ALONE = "1"  # as 2, and the digest covers no metadata


@dataclass
class Place:
    """The position of a run in its training.

    Args:
        step: number of batches that each process has trained on.
        epoch: the current epoch, from 1.
        batch: number of batches of this epoch that are done.
        best: best validation metric so far; -1 before the first evaluation.
        best_epoch: its epoch; 0 before the first evaluation.
        seconds: seconds of training so far, without evaluations, over all calls of the run. Checkpoints of older versions
            lack it, and count from 0.
    """

    step: int = 0
    epoch: int = 1
    batch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0

    def is_over(
        self, *, epochs: int, patience: int, evaluate_every: int = 1, max_seconds: float = 0.0
    ) -> bool:
        """Whether the run ends here. It depends on the settings of this call, so it is not in the checkpoint.

        Args:
            epochs: most epochs.
            patience: most evaluations in a row without an improvement.
            evaluate_every: epochs between evaluations.
            max_seconds: most seconds of training; 0 for no limit.
        """
        limits = {"patience": patience, "evaluate_every": evaluate_every}
        return bool(self.ended_by(epochs=epochs, max_seconds=max_seconds, **limits))

    def ended_by(
        self, *, epochs: int, patience: int, evaluate_every: int, max_seconds: float
    ) -> str:
        """The setting that ends the run here, `patience`, `epochs` or `max_seconds`; empty if none does.

        Arguments are those of `is_over`.
        """
        done = self.epoch - 1
        if done // evaluate_every - self.best_epoch // evaluate_every >= patience:
            return "patience"
        if done >= epochs:
            return "epochs"
        return "max_seconds" if max_seconds and self.seconds >= max_seconds else ""

    @property
    def is_measured(self) -> bool:
        """Whether an epoch, or the initial model, has been evaluated on valid."""
        return self.best >= 0

    def is_evaluated(self, *, epochs: int, evaluate_every: int, max_seconds: float = 0.0) -> bool:
        """Whether the current epoch ends with an evaluation: every so many do, and the last one."""
        is_last = self.epoch == epochs or bool(max_seconds and self.seconds >= max_seconds)
        return is_last or self.epoch % evaluate_every == 0


class Checkpoints:
    """The checkpoints of a run.

    Args:
        run: run folder.
        keep: number of newest checkpoints to keep.
        model: the unwrapped model.
        optimizer: the unwrapped optimizer; its state must be tensors.
        scaler: the gradient scaler of float16 training.
    """

    def __init__(
        self,
        run: Path,
        *,
        keep: int,
        model: nn.Module,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.folder = run / FOLDER
        self.keep = keep
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler

    def paths(self) -> list[Path]:
        """The checkpoint files, oldest first."""
        return checkpoint_files(self.folder.parent)

    def save(self, place: Place) -> None:
        """Writes a checkpoint and removes the oldest beyond `keep`; all processes call it."""
        random = _all_random_states(next(self.model.parameters()).device)
        rank, world = rank_and_world()
        tensors = {f"model/{name}": value for name, value in kept_state(self.model).items()}
        names = self._optimized()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{names[index]}/{key}": value for key, value in state.items()}
        tensors |= {f"random/{index}": state for index, state in enumerate(random)}
        tensors = gathered(tensors, wanted=rank == 0)
        if rank != 0:
            return
        metadata = {
            "format": _FORMAT,
            "place": json.dumps(asdict(place)),
            "processes": str(world),
            "scaler": json.dumps(self.scaler.state_dict() if self.scaler else {}),
        }
        metadata["digest"] = _digest(tensors, metadata)
        data = save(tensors, metadata=metadata)
        path = self.folder / f"step-{place.step:08d}.safetensors"
        write_atomically(path, lambda file: file.write(data))
        for old in self.paths()[: -self.keep]:
            old.unlink()

    def resume(self) -> Place | None:
        """Restores the newest checkpoint that is intact; all processes call it.

        A damaged checkpoint is reported on stderr, and the one before is tried.

        Returns:
            The position of the run; None where there is no checkpoint.

        Raises:
            UserError: if all checkpoints are damaged, one does not fit the model, or the number of processes differs.
        """
        rank, world = rank_and_world()
        paths = self.paths()
        for path in reversed(paths):
            try:
                metadata, tensors = _read(path)
            except ValueError as error:
                if rank == 0:
                    print(
                        f"{path}: damaged ({error}); going back to the one before", file=sys.stderr
                    )
                continue
            if int(metadata["processes"]) != world:
                raise UserError(
                    f"{path}: of a run of {metadata['processes']} processes, and this one has {world}; "
                    "launch as many, or start afresh in another folder"
                )
            try:
                self._restore(metadata, tensors, rank)
            except (RuntimeError, KeyError, ValueError) as error:
                raise UserError(
                    f"{path}: this run cannot go on from it ({' '.join(str(error).split())}); start afresh in another "
                    "folder"
                ) from None
            return _place(metadata)
        if paths:
            raise UserError(
                f"{self.folder}: all checkpoints are damaged; start afresh in another folder"
            )
        return None

    def last(self) -> str:
        """The newest checkpoint, as a clause for a message."""
        paths = self.paths()
        return f"the last good checkpoint is {paths[-1]}" if paths else "there is no checkpoint yet"

    def _optimized(self) -> list[str]:
        """Names of the optimizer's parameters, in its order."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return [names[p] for group in self.optimizer.param_groups for p in group["params"]]

    def _indices(self, metadata: dict[str, str]) -> dict[str, int]:
        """The optimizer's index of each parameter, by the parameter's name in a checkpoint.

        Raises:
            ValueError: if an older version numbered the parameters in another order, as it did with weight decay.
        """
        names = self._optimized()
        if metadata["format"] != _TENSORS_ALONE:
            return {name: index for index, name in enumerate(names)}
        if any(group.get("weight_decay") for group in self.optimizer.param_groups):
            raise ValueError("an older Versa wrote it, which decayed biases and embeddings too")
        return {str(index): index for index in range(len(names))}

    def _restore(self, metadata: dict[str, str], tensors: dict[str, Tensor], rank: int) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        if metadata["format"] != _FORMAT:
            for part in ("model", "optimizer"):
                parts[part] = named_by_tower(parts[part], self.model)
        load_kept_state(self.model, parts["model"])
        index_of = self._indices(metadata)
        optimized = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            parameter, _, key = name.rpartition("/")
            index = index_of[parameter]
            if value.shape == optimized[index].shape:
                value = shard_like(optimized[index], value)
            state.setdefault(index, {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.scaler:
            self.scaler.load_state_dict(json.loads(metadata["scaler"]))
        _restore_random_state(parts["random"][str(rank)], next(self.model.parameters()).device)


def checkpoint_files(run: Path) -> list[Path]:
    """The checkpoint files of a run, oldest first."""
    return sorted((run / FOLDER).glob("step-*.safetensors"))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of a checkpoint, on the CPU.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(error) from None
    digest = metadata.pop("digest", None)
    kept = {} if metadata.get("format") == _TENSORS_ALONE else metadata
    known = (_FORMAT, _NUMBERED_TOWERS, _TENSORS_ALONE)
    if metadata.get("format") not in known or digest != _digest(tensors, kept):
        raise ValueError("its content has changed since it was written")
    try:
        _place(metadata), int(metadata["processes"]), json.loads(metadata["scaler"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("its metadata are not those of a checkpoint") from None
    return metadata, tensors


def _place(metadata: dict[str, str]) -> Place:
    """The position of the run; older versions also wrote whether it was over."""
    values = json.loads(metadata["place"])
    return Place(**{key: value for key, value in values.items() if key != "is_over"})


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of the metadata and of names, shapes and bytes of the tensors, in the order of names."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode() if metadata else b"")
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _random_state(device: torch.device) -> Tensor:
    """State of the random generators: the CPU's, then the GPU's where there is one."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def _restore_random_state(state: Tensor, device: torch.device) -> None:
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size])
    if device.type == "cuda" and len(state) > size:
        torch.cuda.set_rng_state(state[size:], device)


def _all_random_states(device: torch.device) -> list[Tensor]:
    """The random states of all processes, on the CPU."""
    mine = _random_state(device)
    _, world = rank_and_world()
    if world == 1:
        return [mine]
    here = mine.to(device)
    states = [torch.empty_like(here) for _ in range(world)]
    dist.all_gather(states, here)
    return [state.cpu() for state in states]
