"""What the launcher, the environment and the hardware decide: settled before anything else of a run.

The caller puts the settled values into its settings, so that they are recorded, and compared on resume, like all others.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, parse_flag_from_env

from models.machine.parallel import TIMEOUT, rank_and_world
from models.machine.precision import Precision
from models.machine.sharding import ASKED, launcher_shards
from toolkit.errors import UserError

_PRECISION = "ACCELERATE_MIXED_PRECISION"
_ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
_KEPT = "FORK_LAUNCHED"  # if set, Accelerate leaves the processes connected when a run ends
_ACCUMULATION_FLAG = "--gradient_accumulation_steps"
# Launchers set the number of processes in one of these; the last is set by Slurm's srun, but not in a batch script.
_PROCESSES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # fmt: skip


class Launched(NamedTuple):
    """The settings that a launcher may override, as they are in force.

    Args:
        mixed_precision: `no`, `bf16` or `fp16`.
        accumulation: steps that make one update together.
    """

    mixed_precision: Precision
    accumulation: int


def settle_launch(*, mixed_precision: Precision, accumulation: int) -> Launched:
    """The launcher's mixed precision and accumulation; where it sets none, those of the run's settings.

    A difference is printed: the launcher overrides the settings.

    Args:
        mixed_precision: of the settings.
        accumulation: of the settings.

    Raises:
        UserError: if the launcher sets a value that training does not know.
    """
    asked = Launched(mixed_precision, accumulation)
    launched = Launched(
        _launcher_precision() or mixed_precision, _launcher_accumulation() or accumulation
    )
    for key, own, value in zip(Launched._fields, asked, launched, strict=True):
        if value != own:
            print(
                f"train.{key}: {value}, from the launcher, overrides {own} of the config",
                flush=True,
            )
    return launched


def _launcher_precision() -> Precision | None:
    """The launcher's mixed precision; None for `no`, which Accelerate's launcher sets by default."""
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
    """The value of a flag of `accelerate launch`, read from its command line: it passes this one to DeepSpeed only."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:  # the parent has ended, or its command line may not be read
        return None
    if not any("accelerate" in os.path.basename(word) for word in words[:3]):  # noqa: PTH119
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == flag.replace("-", "_"):
            return value if equals else following
    return None


@contextmanager
def connected() -> Iterator[None]:
    """Connects the processes of a launcher for the whole block, in which each of several runs trains in all of them.

    Raises:
        UserError: if they do not know of one another.
    """
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")  # as Accelerator reads it
    PartialState(cpu=on_cpu, timeout=TIMEOUT)
    _refuse_strangers()
    os.environ[_KEPT] = "1"
    try:
        yield
    finally:
        del os.environ[_KEPT]
    PartialState().destroy_process_group()


@contextmanager
def own_state() -> Iterator[None]:
    """Runs the block with an Accelerate state of its own, and restores the earlier state of the process afterwards.

    Accelerate has one state per process, and refuses another precision than the first run's.
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


def start_accelerator(
    *, mixed_precision: Precision = "no", shards: bool = False, **options: Any
) -> Accelerator:
    """The accelerator of a run, checked against what this machine supports.

    Args:
        mixed_precision: settled (`settle_launch`).
        shards: whether the caller shards what the launcher asks to shard (`models.machine.sharding`).
        options: other arguments of `Accelerator`, such as those of `models.training.trackers.tracker_options`.

    Raises:
        UserError: if the launcher asks for a sharded model, the device does not support the precision, or a launcher
            started several processes that do not know of one another.
    """
    waiting = InitProcessGroupKwargs(timeout=TIMEOUT)
    with _unsharded(shards=shards):
        accelerator = Accelerator(
            mixed_precision=mixed_precision, kwargs_handlers=[waiting], **options
        )
    # Accelerate would divide every loss by this number; `Step` weighs each loss by its batch's share instead.
    accelerator.gradient_accumulation_steps = 1
    refuse_cut_up(accelerator.distributed_type)
    _refuse_precision(accelerator)
    _refuse_strangers()
    return accelerator


@contextmanager
def _unsharded(*, shards: bool) -> Iterator[None]:
    """Hides from Accelerate that the launcher asks for FSDP: it would wrap the whole model, and nothing on a CPU.

    transformers must load all weights in every process, of which each keeps its shard: `fsdp_cpu_ram_efficient_loading`,
    which the launcher sets by default, would leave them empty in all but the first.
    """
    if not launcher_shards():
        yield
        return
    if not shards:
        refuse_cut_up(DistributedType.FSDP)
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    asked = os.environ.pop(ASKED)
    try:
        yield
    finally:
        os.environ[ASKED] = asked


def refuse_cut_up(kind: DistributedType) -> None:
    """Refuses launchers that shard the model: only encoders that train can be sharded, by FSDP2."""
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"the launcher asks for {kind.value}, and training takes a whole model in every process: what trains is "
            "small; launch with --multi_gpu (models/configs/accelerate/multi-gpu.yaml). Encoders that train (--item "
            "encoders) are sharded with --use_fsdp --fsdp_version 2 (sharded.yaml)"
        )


def _refuse_precision(accelerator: Accelerator) -> None:
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError(
            "mixed precision fp16 needs a GPU, and this run computes on a CPU, where it would be float32; take bf16 or "
            "no (--train.mixed_precision, or the launcher's --mixed_precision)"
        )


def _refuse_strangers() -> None:
    _, processes = rank_and_world()
    for variable in _PROCESSES:
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > processes:
            raise UserError(
                f"{variable} is {value}, so the launcher started {value} processes, and this one is connected to "
                f"{processes}: each would write the same run; start them with accelerate launch or torchrun, "
                "one launcher per machine, and one run per process"
            )
