"""What is read of a model's folder: its configuration and processor, which are small, and its weights."""

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
    """Reads a model's configuration and makes sure that such a model captions.

    Args:
        model: a folder, `package:NAME/FOLDER` or a hub name.
        options: of `from_pretrained`.

    Raises:
        UserError: if there is none, or it is another kind of model's.
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
            f"model {model!r} is of the kind {config.model_type!r}, which does not say what it sees; "
            "give an image-text-to-text model"
        )


def load_processor(model: str, options: dict[str, Any]) -> Any:
    """What makes pixels and prompts into tensors; prompts are padded on the left.

    Raises:
        UserError: if there is none that takes images.
    """
    where = resolve(model, kind="model")
    try:
        with quiet_loading():
            processor = AutoProcessor.from_pretrained(where, **options)
    except (OSError, ValueError, ImportError) as error:
        raise unreachable(model, error, kind="model") from error
    if not hasattr(processor, "image_processor"):
        raise UserError(
            f"model {model!r} has no processor of images, so it cannot caption; "
            "download it again, or give an image-text-to-text model that has one"
        )
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"  # new tokens must follow the prompt's last one
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def load_network(model: str, options: dict[str, Any]) -> Any:
    """The weights, frozen and in evaluation mode, where and in the precision that `options` say.

    Raises:
        UserError: if some or all are missing, or no safetensors.
    """
    where = resolve(model, kind="model")
    try:
        with quiet_loading():
            network, about = AutoModelForImageTextToText.from_pretrained(
                where, use_safetensors=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"model {model!r}: its weights cannot be loaded from safetensors ({reason}); download it again, "
            "or give a folder that holds them"
        ) from error
    missing = sorted(about["missing_keys"])
    if missing:
        raise UserError(
            f"model {model!r}: its files lack {len(missing)} of the weights ({missing[0]}, ...), which would "
            "be random; download it again, or take a model that is whole"
        )
    return network.requires_grad_(False).eval()
