"""What is common to all encoders that transformers loads."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from toolkit.backbones.network import Hidden
from toolkit.backbones.resolve import resolve, unreachable
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError

_SIDES_FROM = (5, 6)  # version of transformers


def load_pretrained(
    name: str,
    processor_class: Any,
    *,
    revision: str | None,
    trust_remote_code: bool,
    weights: Weights,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """An encoder's processor and model, from safetensors.

    Args:
        name: as the user gives it (`resolve`).
        processor_class: an Auto class: of tokenizers, image processors, ...
        revision: hub revision to pin.
        trust_remote_code: runs code from the hub.
        weights: where they go, and in which precision.
        changes: keys of the configuration that are to have other values.

    Raises:
        UserError: if it cannot be found or loaded.
    """
    where = resolve(name)
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    placing = {**weights.options, **(changes or {})}
    try:
        with quiet_loading():
            processor = processor_class.from_pretrained(where, **source)
            model = AutoModel.from_pretrained(where, use_safetensors=True, **source, **placing)
    except ImportError as error:
        raise UserError(
            f"encoder {name!r} needs a package that is not installed "
            f"({str(error).strip().splitlines()[0]}); install it"
        ) from error
    except (OSError, ValueError) as error:
        raise unreachable(name, error) from error
    return processor, model


def side_of(name: str, model: Any, side: str) -> Any:
    """One side of a model of texts and images, such as `vision_model`; the model itself where it has no such part.

    Raises:
        UserError: if this version of transformers does not return the hidden states of a side alone.
    """
    part = getattr(model, side, None)
    if part is None:
        return model
    version = tuple(int(number) for number in transformers.__version__.split(".")[:2])
    if version < _SIDES_FROM:
        raise UserError(
            f"encoder {name!r} ({type(part).__name__}) needs transformers 5.6 or newer, because transformers "
            f"{transformers.__version__} returns no hidden states of one side of a model; run pip install -U transformers"
        )
    return part


def processor_name(processor: Any) -> str:
    """Class and backend of what makes tensors of texts or pixels, such as `ViTImageProcessor (torchvision)`.

    Libraries change which one they take by default, and the pixels of a resized picture with it.
    """
    backend = getattr(processor, "backend", None)
    if not isinstance(backend, str):
        library = type(processor).__module__.split(".")[0]
        kinds: dict[Any, str] = {True: "fast", False: "slow"}
        backend = kinds.get(getattr(processor, "is_fast", None), library)
    return f"{type(processor).__name__} ({backend})"


def run(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    """A text model's hidden states, with a mask of all ones where the inputs have none."""
    states = model(**inputs, output_hidden_states=True).hidden_states
    mask = inputs.get("attention_mask")
    if mask is None:
        mask = torch.ones(states[0].shape[:2], dtype=torch.long, device=states[0].device)
    return Hidden(states, mask)


@contextlib.contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """For a look at what a model computes: no graph, and evaluation mode, which is set back at the end."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def shape_of(name: str, model: Any) -> tuple[int, int]:
    """Depth and width.

    Raises:
        UserError: if it has no single width.
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(depth, int) or not isinstance(width, int):
        raise UserError(
            f"encoder {name!r} ({type(model).__name__}) has no single depth and width; "
            "encoders whose layers all have one width are supported so far"
        )
    return depth, width


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No loading bars and reports from transformers for the seconds that a load takes."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
