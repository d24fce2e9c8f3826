"""The hierarchical image backbone of the stem, from transformers' backbone API.

B faces, S stages, C_s channels of stage s, H × W pixels, h_s × w_s cells of stage s.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from models.parameters import in_group
from toolkit.backbones.pretrained import probing, quiet_loading
from toolkit.backbones.resolve import resolve, unreachable
from toolkit.errors import UserError

KIND = "backbone"  # in messages, and the learning-rate group
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BEFORE_STAGES = (
    "stem"  # the name of what transformers lists before the stages of a convolutional network
)
_FRESH = (
    "hidden_states_norms."  # norms of the stages' outputs, which checkpoints of classifiers lack
)


class StageBackbone(nn.Module):
    """The feature maps of all stages of a network, from pixels that are not normalised yet.

    All weights that the maps depend on train, in the learning-rate group `backbone`.

    Args:
        network: a backbone of transformers that outputs all of its stages (`from_config`, `load_stage_backbone`).
        mean: mean of the pixels per channel, in [0, 1].
        std: standard deviation of the pixels per channel.

    Raises:
        UserError: if two stages have equal grids.
    """

    def __init__(
        self,
        network: Any,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        maps = _blank_maps(network)
        _refuse_flat(network, maps)
        _freeze_unused(network, maps)
        self.network: Any = in_group(network, KIND)
        self.channels: tuple[int, ...] = tuple(network.channels)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @classmethod
    def from_config(cls, config: Any, **normalisation: Sequence[float]) -> "StageBackbone":
        """A backbone with initial weights.

        Args:
            config: configuration of a hierarchical network, such as `SwinConfig`; its `out_features` is set to all stages.
            normalisation: `mean` and `std`.

        Raises:
            UserError: if the configuration has no stages.
        """
        config.out_features = _stages_of(config, config.model_type)
        return cls(MODEL_FOR_BACKBONE_MAPPING[type(config)](config), **normalisation)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "StageBackbone":
        """Rebuilds a backbone from `settings()`, with initial weights."""
        values = dict(settings["config"])
        config = CONFIG_MAPPING[values.pop("model_type")](**values)
        return cls.from_config(config, mean=settings["mean"], std=settings["std"])

    def settings(self) -> dict[str, Any]:
        """Configuration and normalisation, as a JSON object."""
        return {
            "config": self.network.config.to_diff_dict(),
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1] -> S maps (B, C_s, h_s, w_s), the largest grid first."""
        return list(self.network((images - self.mean) / self.std).feature_maps)


def load_stage_backbone(name: str, *, revision: str | None = None) -> StageBackbone:
    """Loads a pretrained hierarchical network, from safetensors only, with the mean and std of its image processor.

    Args:
        name: folder, `package:NAME/SUBFOLDER` or hub name (`toolkit.backbones.resolve`) of a Swin or another network
            with stages whose grids shrink.
        revision: hub revision to pin.

    Raises:
        UserError: if it cannot be found, its weights are incomplete, or it is no hierarchical backbone.
    """
    where = resolve(name, kind=KIND)
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(where, revision=revision)
            config.out_features = _stages_of(config, name)
            processor = AutoImageProcessor.from_pretrained(where, revision=revision)
            network, report = MODEL_FOR_BACKBONE_MAPPING[type(config)].from_pretrained(
                where,
                config=config,
                revision=revision,
                use_safetensors=True,
                output_loading_info=True,
            )
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise unreachable(name, error, kind=KIND) from error
    absent = [key for key in report["missing_keys"] if _FRESH not in key]
    if absent:
        raise UserError(
            f"backbone {name!r}: its file lacks {len(absent)} weights, such as {absent[0]}; expected a complete "
            f"checkpoint of a {config.model_type} network"
        )
    return StageBackbone(network, mean=processor.image_mean, std=processor.image_std)


def _stages_of(config: Any, name: str) -> list[str]:
    """The names of all stages.

    Raises:
        UserError: if transformers has no backbone with stages for the configuration.
    """
    names = getattr(config, "stage_names", None) or []
    stages = [stage for stage in names if stage != _BEFORE_STAGES]
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING or len(stages) < 2:
        raise UserError(
            f"backbone {name!r} ({config.model_type}) has no stages in the backbone API of transformers; use a "
            "hierarchical network, such as swin, swinv2, convnext or resnet"
        )
    return stages


def _blank_maps(network: Any) -> list[Tensor]:
    """The feature maps of a black image, with a graph."""
    size = getattr(network.config, "image_size", None)
    size = size if isinstance(size, int) else 64
    with probing(network), torch.enable_grad():
        black = next(network.parameters()).new_zeros(1, 3, size, size)
        return list(network(black).feature_maps)


def _refuse_flat(network: Any, maps: Sequence[Tensor]) -> None:
    grids = [tuple(stage.shape[2:]) for stage in maps]
    if len(set(grids)) < len(grids):
        raise UserError(
            f"a backbone {network.config.model_type} has stages with grids {grids}; expected grids that shrink from stage "
            "to stage, as those of swin"
        )


def _freeze_unused(network: Any, maps: Sequence[Tensor]) -> None:
    """Freezes what no map depends on, such as Swin's last norm: a loss could not train it, which DDP refuses."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    total = torch.stack([stage.sum() for stage in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
