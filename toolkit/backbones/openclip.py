"""Vision transformers through open_clip: `open_clip:FOLDER` or `open_clip:OWNER/NAME` on the hub.

A folder holds `open_clip_config.json` and the weights as safetensors, as open_clip's own hub
repositories do.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from toolkit.backbones.backbone import Encoder, Hidden
from toolkit.backbones.resolve import OPEN_CLIP, resolve, unreachable
from toolkit.errors import UserError
from toolkit.images import decode_jpeg


def load(name: str) -> Encoder:
    """Loads the vision tower of an open_clip model; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, its weights are pickled, or the tower is no ViT of open_clip's own.
    """
    where = resolve(name)
    local = Path(where).is_dir()
    if local and not any(Path(where).glob("*.safetensors")):
        raise UserError(
            f"encoder {name!r}: {where} holds no *.safetensors; pickled weights are not loaded"
        )
    schema = "local-dir:" if local else "hf-hub:"
    try:
        model, transform = open_clip.create_model_from_pretrained(schema + where)
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable(name, error) from error
    tower: Any = model.visual
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None:
        raise UserError(
            f"encoder {name!r}: its vision tower ({type(tower).__name__}) is none of open_clip's own ViTs; "
            f"those are supported so far (take {name.removeprefix(OPEN_CLIP)!r} through transformers if it is there too)"
        )
    return Encoder(
        model=tower.requires_grad_(False).eval(),
        prepare=_images(transform),
        run=_run(tower, blocks),
        depth=len(blocks),
        width=tower.transformer.width,
    )


def _images(
    transform: Callable[[Image.Image], Tensor],
) -> Callable[[Sequence[bytes]], dict[str, Tensor]]:
    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        return {"x": torch.stack([transform(Image.fromarray(decode_jpeg(item))) for item in items])}

    return prepare


def _run(
    tower: torch.nn.Module, blocks: torch.nn.ModuleList
) -> Callable[[dict[str, Tensor]], Hidden]:
    """Listens to the blocks: the first one's input is the embedding output, then every output."""

    def run(inputs: dict[str, Tensor]) -> Hidden:
        states: list[Tensor] = []
        handles = [blocks[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))]
        handles += [
            b.register_forward_hook(lambda _, args, out: states.append(out)) for b in blocks
        ]
        try:
            tower(**inputs)
        finally:
            for handle in handles:
                handle.remove()
        mask = torch.ones(states[0].shape[:2], dtype=torch.long, device=states[0].device)
        return Hidden(states, mask)

    return run
