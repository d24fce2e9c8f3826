"""What a run of each row of the papers' studies costs, by arithmetic: operations, seconds and memory.

    python -m benchmarks.papers [STUDY …]

Encoders are built on the meta device, without weights, and their forward passes are counted by torch's FlopCounterMode. An
epoch reads each training interaction once, and once more per sampled negative: an upper bound, because items that occur twice
in a step are encoded once. The backward pass costs two forward passes, one if no weight below trains but states pass through
(adapters, LoRA, biases), and none for frozen layers. Seconds are those of an H200 at 40 % of its 989 TFLOP/s in bf16. Memory is
that of weights, gradients and both moments of Adam in float32; activations are not in it.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as hf
from torch.utils.flop_counter import FlopCounterMode

from toolkit.backbones.zoo import pytorchvideo_networks, torchvision_networks
from toolkit.yaml_files import read_yaml

CONFIGS = Path(__file__).parents[1] / "models" / "configs"
H200_FLOPS = 0.4 * 989e12
# Training interactions (all but the last two of each user), users and items of the dataset of a study, where published.
SIZES = {
    "iisan": (57_559, 12_076, 20_314),  # Scientific
    "microlens": (519_405, 100_000, 19_738),  # 100k
    "ninerec-models": (26_642, 6_549, 1_579),  # Food
    "ninerec": (26_642, 6_549, 1_579),
    "ninerec-covers": (26_642, 6_549, 1_579),
}
PER = 100_000  # interactions of the others, whose vectors are not counted
PIXELS = {"pixel_values": (1, 3, 224, 224)}
SWIN_B: dict[str, Any] = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


class Cost(NamedTuple):
    """Of one item.

    Args:
        flops: operations of a forward pass.
        parameters: of the encoder.
    """

    flops: float
    parameters: int


def text(config: Callable[..., Any], tokens: int, **sizes: Any) -> tuple[Any, dict[str, Any]]:
    """A text encoder and its input."""
    return config(**sizes), {"input_ids": (1, tokens)}


NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert-base-uncased": text(hf.BertConfig, 30),
    "bert-large-uncased": text(hf.BertConfig, 30, **LARGE),
    "hfl/chinese-bert-wwm": text(hf.BertConfig, 30, vocab_size=21_128),
    "hfl/chinese-roberta-wwm-ext": text(hf.BertConfig, 30, vocab_size=21_128),
    "roberta-base": text(hf.RobertaConfig, 30, vocab_size=50_265, max_position_embeddings=514),
    "google/vit-base-patch16-224": (hf.ViTConfig(), PIXELS),
    "facebook/vit-mae-base": (hf.ViTConfig(), PIXELS),  # all patches, as Versa reads them
    "microsoft/swin-tiny-patch4-window7-224": (hf.SwinConfig(), PIXELS),
    "microsoft/swin-base-patch4-window7-224": (hf.SwinConfig(**SWIN_B), PIXELS),
    "MCG-NJU/videomae-base": (hf.VideoMAEConfig(num_frames=4), {"pixel_values": (1, 4, 3, 224, 224)}),
}  # fmt: skip
OF_DATASET = {
    "title": "bert-base-uncased",
    "cover": "google/vit-base-patch16-224",
}  # of the overlays of IISAN
WITH_USERS = ("dssm", "lightgcn", "vbpr", "mmgcn", "grcn")  # recommenders with a vector per user
MICROLENS = ("r3d_18", "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "c2d_r50", "i3d_r50", "slow_r50", "r2plus1d_r50", "csn_r101",
             "slowfast_r50", "slowfast_r101")  # fmt: skip  # not the MViTs, whose builder does not run on the meta device
ZOO = {"torchvision": torchvision_networks.NETWORKS, "pytorchvideo": pytorchvideo_networks.NETWORKS}


@cache
def cost_of(encoder: str) -> Cost:
    """Counts an encoder."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        if ":" in encoder:
            model = video_network(encoder)
            model(clip_of(encoder))
        else:
            config, shapes = NETWORKS[encoder]
            model = hf.AutoModel.from_config(config).eval()
            kinds = {"input_ids": torch.long}
            model(
                **{key: torch.zeros(shape, dtype=kinds.get(key)) for key, shape in shapes.items()}
            )
    return Cost(counter.get_total_flops(), sum(x.numel() for x in model.parameters()))


def video_network(encoder: str) -> torch.nn.Module:
    """A network for five frames of 224 px, without its classification head."""
    library, _, name = encoder.partition("@")[0].partition(":")
    network = ZOO[library][name]()
    model = network.build(5, 224).eval()
    for path, replacement in network.head.items():
        model.set_submodule(path, replacement())
    return model


def clip_of(encoder: str) -> Any:
    """Five frames; for SlowFast also the first and the last."""
    clip = torch.empty(1, 3, 5, 224, 224)
    return [clip[:, :, [0, 4]], clip] if "slowfast" in encoder else clip


def factor(adapt: str, layers: int) -> tuple[float, float]:
    """Forward passes that a step costs, and the share of the weights that trains."""
    if adapt.startswith("top-"):
        share = int(adapt[4:]) / layers
        return 1 + 2 * share, share
    return {"full": (3.0, 1.0), "frozen": (1.0, 0.0)}.get(adapt, (2.0, 0.0))


def settings_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """Presets and settings of a method, by dotted key."""
    flat: dict[str, Any] = {}
    for preset in method.get("config", []):
        flat |= _flat(read_yaml(CONFIGS / f"{preset}.yaml"))
    return flat | _flat(method.get("settings", {}))


def _flat(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        whole = f"{lead}{key}"
        found |= _flat(value, f"{whole}.") if isinstance(value, dict) else {whole: value}
    return found


def row(flat: Mapping[str, Any], interactions: int, users: int, items: int) -> tuple[str, ...]:
    """Operations, seconds and memory of a method; empty where nothing is counted."""
    if flat.get("item") == "encoders":
        return trained_encoders(flat, interactions)
    kind = flat.get("recommender.kind", "")
    if kind in ("popularity", "ease"):
        return ("", "", gib(8 * items**2) if kind == "ease" else "")
    has_vectors = flat.get("item") == "id" or "id" in flat.get("towers", []) or kind
    vectors = (items + (users if kind in WITH_USERS else 0)) if has_vectors else 0
    return ("", "", gib(16 * vectors * flat.get("side.embedding_dim", 64)) if vectors else "")


def trained_encoders(flat: Mapping[str, Any], interactions: int) -> tuple[str, ...]:
    """Operations, seconds and memory of encoders that train."""
    flops, held = 0.0, 0.0
    for tower in flat["towers"]:
        encoder = flat.get(f"encoders.{tower}.encoder", OF_DATASET.get(tower, ""))
        adapt = flat.get(f"encoders.{tower}.adapt", flat.get("adapt", "full"))
        passes, share = factor(adapt, layers_of(encoder))
        flops += passes * cost_of(encoder).flops
        held += cost_of(encoder).parameters * (4 + 12 * share)
    total = flops * interactions * (2 if flat.get("train.loss") == "bce" else 1)
    return (f"{total / 1e15:.1f}", f"{total / H200_FLOPS:,.0f} s", gib(held))


def layers_of(encoder: str) -> int:
    """Layers, or stages of a video network."""
    library, colon, name = encoder.partition("@")[0].partition(":")
    return len(ZOO[library][name]().layers) if colon else 12


def gib(size: float) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.2f}"


def main() -> None:
    """Prints the encoders, then a table per study."""
    networks = [
        f"{library}:{name}" for library, known in ZOO.items() for name in known if name in MICROLENS
    ]
    for name in (*NETWORKS, *networks):
        one = cost_of(name)
        print(f"| {name} | {one.flops / 1e9:.1f} | {one.parameters / 1e6:.1f} |", flush=True)
    for name in sys.argv[1:] or list(SIZES):
        sizes = SIZES.get(name, (PER, 0, 0))
        print(f"\n{name}: {sizes[0]:,} training interactions, {sizes[2]:,} items")
        for key, method in read_yaml(CONFIGS / "studies" / f"{name}.yaml")["methods"].items():
            print(f"| {key} | {' | '.join(row(settings_of(method), *sizes))} |", flush=True)


if __name__ == "__main__":
    main()
