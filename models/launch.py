"""How a run begins: what the launcher says before the config, and whether its folder is new or to be resumed."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType

from models.config import RunConfig, load_run_config
from models.run import CONFIG
from toolkit.errors import UserError

# What a resumed run may ask for otherwise than it was begun: none of it changes a step that is done.
FREE_TO_CHANGE = {"resume", "output", "data", "train.log_every_steps", "train.checkpoint_every_steps",
                  "train.keep_checkpoints", "train.patience", "train.trackers", "residency.place", "residency.device_gib",
                  "residency.host_gib"}  # fmt: skip


def mixed_precision(config: RunConfig) -> str:
    """The launcher's setting goes before ours; a difference is said."""
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launcher not in ("no", config.train.mixed_precision):
        print(
            f"mixed precision: {launcher} from the launcher, not {config.train.mixed_precision} from the config"
        )
        return launcher
    return config.train.mixed_precision


def accumulation(config: RunConfig) -> int:
    """The launcher's setting goes before ours; a difference is said."""
    launcher = int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"))
    if launcher not in (1, config.train.accumulation):
        print(
            f"gradient accumulation: {launcher} from the launcher, not {config.train.accumulation} from the config"
        )
        return launcher
    return config.train.accumulation


def refuse_cut_up(kind: DistributedType) -> None:
    """Makes sure that every process has the whole model, which is what is saved, resumed and evaluated.

    What trains is small, a side network of some million weights or one vector an item; the frozen encoders, which
    may be large, are run by prep.

    Raises:
        UserError: if the launcher would cut it up, as FSDP and DeepSpeed do.
    """
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"the launcher asks for {kind.value}, and training takes a whole model in every process: what trains is "
            "small; launch with --multi_gpu (models/configs/accelerate/multi-gpu.yaml)"
        )


def refuse_other_run(config: RunConfig, output: Path) -> bool:
    """Whether the output holds no run yet.

    Raises:
        UserError: if it holds one and is not to be resumed, or what is asked is not what was begun.
    """
    if not (output.exists() and any(output.iterdir())):
        return True
    if not config.resume:
        raise UserError(
            f"--output {output}: not empty; choose another folder, remove it first, or go on with --resume"
        )
    if not (output / CONFIG).exists():
        raise UserError(f"--output {output}: no {CONFIG} here, so this is no run to resume")
    begun, asked = flat(asdict(load_run_config(output / CONFIG))), flat(asdict(config))
    free = FREE_TO_CHANGE | ({"train.epochs"} if config.train.schedule == "constant" else set())
    for key in sorted({*begun, *asked} - free):
        if begun.get(key) != asked.get(key):
            raise UserError(
                f"{output} was begun with {key} = {begun.get(key)}, and now {key} = {asked.get(key)} is asked "
                "for; set it back, or start afresh in another folder"
            )
    return False


def flat(values: dict[str, Any], prefix: str = "", *, between: str = ".") -> dict[str, Any]:
    """Keys of keys joined, by dots unless something else is to stand between them."""
    joined: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            joined |= flat(value, f"{prefix}{key}{between}", between=between)
        else:
            joined[prefix + key] = value
    return joined
