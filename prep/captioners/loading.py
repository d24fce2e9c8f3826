"""Loads the configuration, the processor and the weights of a transformers model."""

from typing import Any

from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from toolkit.backbones.pretrained import quiet_loading
from toolkit.backbones.resolve import resolve, unreachable
from toolkit.errors import UserError


def refuse_other_kinds(model: str, options: dict[str, Any]) -> None:
    """Reads a model's configuration and refuses models that do not generate text from images.

    Args:
        model: a folder, `package:NAME/FOLDER` or a hub name.
        options: options of `from_pretrained`.

    Raises:
        UserError: if there is no configuration, or the model is of another kind.
    """
    where = resolve(model, kind="model")
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(where, **options)
    except (OSError, ValueError, ImportError) as error:
        raise unreachable(model, error, kind="model") from error
    own_code = getattr(config, "auto_map", None) or {}
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if not known and AutoModelForImageTextToText.__name__ not in own_code:
        raise UserError(
            f"model {model!r} has type {config.model_type!r}, which does not generate captions; "
            "use an image-text-to-text model"
        )


def load_processor(model: str, options: dict[str, Any]) -> Any:
    """Loads the processor of a model, which converts pixels and prompts to tensors; prompts are left-padded.

    Raises:
        UserError: if there is no processor for images.
    """
    where = resolve(model, kind="model")
    try:
        with quiet_loading():
            processor = AutoProcessor.from_pretrained(where, **options)
    except (OSError, ValueError, ImportError) as error:
        raise unreachable(model, error, kind="model") from error
    if not hasattr(processor, "image_processor"):
        raise UserError(
            f"model {model!r} has no image processor, so it cannot caption; "
            "download it again, or use an image-text-to-text model with an image processor"
        )
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # new tokens must directly follow the prompt
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def load_network(model: str, options: dict[str, Any]) -> Any:
    """Loads the model frozen and in evaluation mode, on the device and in the precision of `options`.

    Raises:
        UserError: if weights are missing or not safetensors.
    """
    where = resolve(model, kind="model")
    try:
        with quiet_loading():
            network, loading_info = AutoModelForImageTextToText.from_pretrained(
                where, use_safetensors=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"model {model!r}: its weights cannot be loaded from safetensors ({reason}); download it again, "
            "or give a folder that contains them"
        ) from error
    missing = sorted(loading_info["missing_keys"])
    if missing:
        raise UserError(
            f"model {model!r}: its files lack {len(missing)} of the weights ({missing[0]}, ...), which would "
            "be random; download it again, or use a complete model"
        )
    return network.requires_grad_(False).eval()
