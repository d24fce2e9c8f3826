"""Mixed precision outside of the wrapped model: Accelerate casts in the `forward` that it wraps, and nowhere else."""

import torch

from models.machine.precision import Precision

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device | str) -> torch.autocast:
    """A context that computes in a mixed precision; float16 is float32 on a CPU, as training refuses it there.

    Args:
        precision: of the run.
        device: where the model computes.
    """
    kind = torch.device(device).type
    enabled = precision != "no" and not (precision == "fp16" and kind == "cpu")
    return torch.autocast(kind, dtype=DTYPES[precision] if enabled else None, enabled=enabled)
