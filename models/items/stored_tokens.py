"""Encoders that train their top layers alone, on the stored states of the tokens below these (`toolkit.tokens`)."""

from collections.abc import Mapping
from typing import Any

from toolkit.backbones import Encoder
from toolkit.backbones.upper import keep_upper_part, layers_of, modules_below, tokens_settings
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.sources import captions_behind
from toolkit.tokens import TokenTable

# Of the settings that token states depend on. The name of an encoder may be a path, which its revision identifies, and
# precision is what prep computed them in.
_FREE = ("encoder", "precision")


def keep_trained_layers(encoder: Encoder, method: str) -> int:
    """Removes the frozen layers below those that train from an adapted encoder, in place.

    Args:
        encoder: whose trainable parameters are decided.
        method: how it was adapted, for messages.

    Returns:
        The number of removed layers, which is the index of the state that must be stored.

    Raises:
        UserError: if the encoder cannot run from a middle layer, or the method trains more than the top layers.
    """
    layers = layers_of(encoder)
    lowest = next((index for index, layer in enumerate(layers) if _trains(layer)), 0)
    own = {id(x) for x in encoder.model.parameters()}
    elsewhere = any(x.requires_grad and id(x) not in own for x in encoder.parameters())
    if lowest == 0 or elsewhere or any(map(_trains, modules_below(encoder))):
        raise UserError(
            f"from_layer stored: adapt {method} does not train the top layers of an encoder of {len(layers)} layers alone, and "
            f"what lies below stored states cannot train; set adapt to top-1 … top-{len(layers) - 1}, or leave out from_layer"
        )
    keep_upper_part(encoder, lowest)
    return lowest


def _trains(module: Any) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def required_tokens(encoder: Encoder, layer: int) -> dict[str, Any]:
    """The settings of the token states that an encoder can train on; see `open_required_tokens`.

    Args:
        encoder: whole or cut.
        layer: index of the state that the trained layers begin at.
    """
    settings = tokens_settings(encoder, layer)
    return {key: value for key, value in settings.items() if key not in _FREE}


def open_required_tokens(dataset: Dataset, tower: str, required: Mapping[str, Any]) -> TokenTable:
    """The stored token states of a tower, if they are those that its encoder trains on.

    Args:
        dataset: the dataset.
        tower: name of the tower.
        required: from `required_tokens`.

    Raises:
        UserError: if they are not stored, are of another layer, encoder or content, or were read in another way.
    """
    stored = dataset.tokens_settings(tower)
    layer = int(stored.get("layer", -1))
    if layer != required["layer"]:
        raise UserError(
            f"tower {tower!r}: its token states are stored after layer {layer}, and adapt trains the layers above "
            f"{required['layer']}; the two must be equal: store others with prep encode and --encode.{tower}.tokens "
            f"{required['layer']} (delete {dataset.path / 'tokens' / tower} first), or train the layers above {layer}"
        )
    now = {**required, "captions": captions_behind(dataset, required["source"])}
    for key, value in now.items():
        if stored.get(key, "") != value:
            raise UserError(
                f"tower {tower!r}: its token states were stored with {key} {stored.get(key)!r}, and the run has {value!r}; set "
                f"it back, or delete {dataset.path / 'tokens' / tower} and run prep encode again"
            )
    return dataset.token_table(tower)
