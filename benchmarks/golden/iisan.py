"""IISAN's baselines: two encoders that train, their heads, SASRec and the in-batch softmax.

U items of the file, E embedding. image = GELU(W · final norm's class token + b), text = GELU(W · class token + b), item =
W · [image; text] + b.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.names import BERT, USER, VIT, Rename, names_by_part
from benchmarks.golden.towers import as_encoder, bert_model, load, plain, sasrec, vit_model
from models.adaptation import adapt
from models.adaptation.bottlenecks import HoulsbySettings
from models.adaptation.low_rank import LoraSettings
from models.losses.softmax import in_batch_loss
from toolkit.backbones import Encoder

_PARTS: dict[str, tuple[str, tuple[Rename, ...]]] = {
    "vit": ("mm_encoder.cv_encoder.image_net.", VIT),
    "bert": ("mm_encoder.bert_encoder.text_encoders.title.bert_model.", BERT),
    "text_head": ("mm_encoder.bert_encoder.text_encoders.title.fc.", ()),
    "user": ("user_encoder.", USER),
    "join": ("com_dense.", ()),
}


class Baseline(nn.Module):
    """The recommender of a file.

    Args:
        golden: the file.
        weights: of each part, under our names.
    """

    def __init__(self, golden: Golden, weights: dict[str, dict[str, Tensor]]) -> None:
        super().__init__()
        meta = golden.meta
        sizes = {"heads": meta["heads_encoder"], "eps": meta["layer_norm_eps_encoders"]}
        pixels = {"pixel_values": golden.inputs["item_images"]}
        texts = {
            "input_ids": golden.inputs["item_text_ids"],
            "attention_mask": golden.inputs["item_text_mask"],
        }
        vit = vit_model(weights["vit"], golden.inputs["item_images"], **sizes)
        bert = bert_model(weights["bert"], **sizes)
        self.vit = as_encoder(vit, pixels, source="cover", final_norm=True)
        self.bert = as_encoder(bert, texts, source="title")
        settings = _settings(golden)
        for encoder in (self.vit, self.bert):
            adapt(encoder, _METHODS[meta["method"]], settings)
        self.vit.add_module("head", _linear(weights["vit"]["head.weight"]))
        self.text_head = _linear(weights["text_head"]["weight"])
        self.join = _linear(weights["join"]["weight"])
        self.user = sasrec(weights["user"], heads=meta["user_heads"])
        for name, part in weights.items():
            load(self.get_submodule(name), part)
        self.double().eval()  # what a method adds is float32

    def forward(self, ids: Tensor, log_popularity: Tensor) -> dict[str, Tensor]:
        """Embeddings per slot of (B, L + 1) ids, user states and loss."""
        image = F.gelu(self.vit.head(_class_token(self.vit)))  # type: ignore[operator]
        text = F.gelu(self.text_head(_class_token(self.bert)))
        items = self.join(torch.cat([image, text], dim=1))
        real = ids[:, :-1] != 0
        states = self.user(items[ids[:, :-1]], real) * real.unsqueeze(-1)
        slots = ids.flatten()
        return {
            "image_embedding": image[slots],
            "text_embedding": text[slots],
            "item_embedding": items[slots],
            "user_states": states,
            "loss": in_batch_loss(states, items, ids, log_popularity),
        }


def run_iisan(golden: Golden) -> Ours:
    """One training step of a file."""
    names = names_by_part(golden.weights, _PARTS)
    weights = {
        part: {ours: golden.weights[public] for public, ours in found.items()}
        for part, found in names.items()
    }
    model = Baseline(golden, weights)
    ids = golden.inputs["item_ids"]
    popularity = golden.inputs["pop_prob"].clone()
    popularity[0] = 1.0  # of padding, which is no column
    outputs = model(ids, popularity.log())
    outputs["loss"].backward()
    mine = {plain(name): x for name, x in model.named_parameters()}
    ours = {
        public: mine.get(f"{part}.{name}")
        for part, found in names.items()
        for public, name in found.items()
    }
    gradients = {
        name: ours[name].grad if ours.get(name) is not None else None for name in golden.gradients
    }  # type: ignore[union-attr]
    trains = {name for name, x in ours.items() if x is not None and x.requires_grad}
    return Ours(outputs, gradients, trains)


def _linear(weight: Tensor) -> nn.Linear:
    return nn.Linear(weight.shape[1], weight.shape[0])


def _class_token(encoder: Encoder) -> Tensor:
    """(U, D), of all items of the file."""
    return encoder.hidden(encoder.prepare(["golden"])).states[-1][:, 0]


def _lora(golden: Golden) -> LoraSettings:
    rank = golden.meta["bottleneck_or_rank"]
    return LoraSettings(rank=rank, alpha=golden.meta["lora_scaling"] * rank, biases=True)


def _adapter(golden: Golden) -> HoulsbySettings:
    return HoulsbySettings(width=golden.meta["bottleneck_or_rank"])


_METHODS = {"fft": "full", "adapter": "houlsby", "lora": "lora", "bitfit": "bitfit"}
_CHOICES: dict[str, Callable[[Golden], HoulsbySettings | LoraSettings]] = {
    "adapter": _adapter,
    "lora": _lora,
}


def _settings(golden: Golden) -> HoulsbySettings | LoraSettings | None:
    choose = _CHOICES.get(golden.meta["method"])
    return choose(golden) if choose else None
