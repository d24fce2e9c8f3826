"""What the launcher, the environment and the hardware decide: settled before anything else of a run.

The settled values stand in the run's config from then on, so that they are recorded, and compared on resume, as
everything else is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil  # type: ignore[import-untyped]
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType

from models.config import Precision, RunConfig
from toolkit.errors import UserError

_PRECISION = "ACCELERATE_MIXED_PRECISION"
_ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
_ACCUMULATION_FLAG = "--gradient_accumulation_steps"
# How launchers tell each process how many there are; the last is of Slurm's srun, and absent in a batch script.
_PROCESSES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # fmt: skip


def settled(config: RunConfig) -> RunConfig:
    """The config with the launcher's mixed precision and accumulation, which override it; a difference is printed.

    Raises:
        UserError: if the launcher asks for something that training does not know.
    """
    train = config.train
    precision = _launcher_precision() or train.mixed_precision
    accumulation = _launcher_accumulation() or train.accumulation
    for key, value in {"mixed_precision": precision, "accumulation": accumulation}.items():
        own = getattr(train, key)
        if value != own:
            print(
                f"train.{key}: {value}, from the launcher, overrides {own} of the config",
                flush=True,
            )
    return replace(
        config, train=replace(train, mixed_precision=precision, accumulation=accumulation)
    )


def _launcher_precision() -> Precision | None:
    """None where the launcher leaves it to the config: Accelerate's says `no` where nobody asked."""
    value = os.environ.get(_PRECISION, "no").lower()
    known: dict[str, Precision | None] = {"no": None, "bf16": "bf16", "fp16": "fp16"}
    if value not in known:
        raise UserError(
            f"{_PRECISION} is {value!r}, set by the launcher; training knows {', '.join(known)}"
        )
    return known[value]


def _launcher_accumulation() -> int | None:
    value = os.environ.get(_ACCUMULATION) or _word_of_parent(_ACCUMULATION_FLAG)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(
            f"{_ACCUMULATION_FLAG} or {_ACCUMULATION} is {value!r}; expected a whole number from 1"
        )
    return int(value)


def _word_of_parent(flag: str) -> str | None:
    """What follows a flag of `accelerate launch`, which passes this one on to DeepSpeed alone."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:  # the parent is gone, or not ours to look at
        return None
    if not any("accelerate" in os.path.basename(word) for word in words[:3]):  # noqa: PTH119
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == flag.replace("-", "_"):
            return value if equals else following
    return None


@contextmanager
def own_state() -> Iterator[None]:
    """Gives a run an Accelerate state of its own: that of an earlier run in this process, or of its caller, comes back.

    Accelerate keeps one for each process, and refuses another precision than the first run's.
    """
    shared = [kind._shared_state for kind in (AcceleratorState, GradientState)]
    before = [dict(state) for state in shared]
    try:
        for state in shared:
            state.clear()
        yield
    finally:
        for state, old in zip(shared, before, strict=True):
            state.clear()
            state.update(old)


def start_accelerator(config: RunConfig, **options: Any) -> Accelerator:
    """The accelerator of a run, checked against what it can really do here.

    Args:
        config: settled.
        options: others of `Accelerator`.

    Raises:
        UserError: if the model would be cut up, the device has no such precision, or a launcher started several
            processes that do not know of one another.
    """
    accelerator = Accelerator(mixed_precision=config.train.mixed_precision, **options)
    # Accelerate would divide every batch's loss by this number; ours are weighed by their positions.
    accelerator.gradient_accumulation_steps = 1
    refuse_cut_up(accelerator.distributed_type)
    _refuse_precision(accelerator)
    _refuse_strangers(accelerator.num_processes)
    return accelerator


def refuse_cut_up(kind: DistributedType) -> None:
    """Makes sure that every process has the whole model, which is what is saved, resumed and evaluated."""
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"the launcher asks for {kind.value}, and training takes a whole model in every process: what trains is "
            "small; launch with --multi_gpu (models/configs/accelerate/multi-gpu.yaml)"
        )


def _refuse_precision(accelerator: Accelerator) -> None:
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError(
            "mixed precision fp16 needs a GPU, and this run computes on a CPU, where it would be float32; take bf16 or "
            "no (--train.mixed_precision, or the launcher's --mixed_precision)"
        )


def _refuse_strangers(processes: int) -> None:
    for variable in _PROCESSES:
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > processes:
            raise UserError(
                f"{variable} is {value}, so the launcher started {value} processes, and this one knows of "
                f"{processes}: each would write the same run; start them with accelerate launch or torchrun, "
                "one launcher a machine"
            )
