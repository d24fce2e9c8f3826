"""Adapters in a model folder as peft lays them out, so that peft alone opens them over the base encoder.

`adapters/TOWER/adapter_config.json` and `adapters/TOWER/adapter_model.safetensors`. This is their only copy:
`model.safetensors` leaves these tensors out.
"""

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from models.parameters import kept_state
from toolkit.backbones.resolve import portable

FOLDER = "adapters"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of the names of peft's own models


class Adapter(NamedTuple):
    """What peft added to one encoder.

    Args:
        name: of its subfolder: that of the tower.
        config: content of `adapter_config.json`.
        names: by name of a tensor in the model, its name in `adapter_model.safetensors`.
    """

    name: str
    config: dict[str, Any]
    names: dict[str, str]

    @property
    def file(self) -> str:
        """Path of its tensors in a model folder."""
        return f"{FOLDER}/{self.name}/{WEIGHTS}"


def adapters_of(model: nn.Module) -> list[Adapter]:
    """The adapters that peft injected into parts of a model."""
    kept = kept_state(model)
    return [
        _adapter(model, path, kept.keys())
        for path, part in model.named_modules()
        if getattr(part, "peft_config", None)
    ]


def adapter_weights(folder: Path) -> list[str]:
    """Paths of the tensors of all adapters in a model folder, in it."""
    found = (folder / FOLDER).glob(f"*/{WEIGHTS}")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _adapter(model: nn.Module, path: str, kept: Any) -> Adapter:
    from peft import get_peft_model_state_dict

    part: Any = model.get_submodule(path)
    state = part.state_dict(keep_vars=True)
    ours = {id(tensor): f"{path}.{name}" for name, tensor in state.items()}
    theirs = get_peft_model_state_dict(part, state_dict=state, save_embedding_layers=False)
    names = {ours[id(tensor)]: _PREFIX + name for name, tensor in theirs.items()}
    owner = model.get_submodule(path.rpartition(".")[0])
    return Adapter(
        name=path.removesuffix(".model").rpartition(".")[2],
        config=_config(part, getattr(owner, "spec", None), getattr(owner, "commit", None)),
        names={name: other for name, other in names.items() if name in kept},
    )


def _config(part: Any, spec: Any, commit: str | None) -> dict[str, Any]:
    """As peft writes it, but in one order, and without paths of this machine."""
    (config,) = part.peft_config.values()
    written = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
    }
    return written | {
        "auto_mapping": {
            "base_model_class": type(part).__name__,
            "parent_library": type(part).__module__,
        },
        "base_model_name_or_path": spec and portable(spec.encoder),
        "inference_mode": True,
        "revision": commit,
    }
