"""The description of an encoder: every setting that decides the hidden states of an item, and no others."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from toolkit.arguments import refuse_below
from toolkit.towers import Modality, modality_of

Pooling = Literal["cls", "mean", "last"]
Precision = Literal["auto", "saved", "float32", "bfloat16", "float16"]
Quantize = Literal["none", "8bit", "4bit"]

TITLE_TOKENS = 30  # as in the papers
TEXT_TOKENS = 128  # of longer texts: captions, and joined texts


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder and what it reads.

    Where and how fast it computes (device, batch sizes) is not part of it: the states do not depend on that.

    Args:
        encoder: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name;
            open_clip: before a folder or hub name takes that side of open_clip's model which reads the source;
            torchvision:NETWORK@FILE and pytorchvideo:NETWORK@FILE are a video network of that library with the
            weights of a local file (@random: random weights).
        source: what the encoder reads. Text: title, the name of captions, or concat:title+image_caption, which
            joins texts. Images: cover, or frames, whose states are averaged over a clip, unless the encoder is
            a video encoder (VideoMAE, ...): it reads as many frames of a clip at once as its configuration says.
        pooling: how the tokens of a layer become one vector: cls for BERT, ViT and the like; mean or last for
            decoder-only encoders (LLaMA, ...), whose first token sees nothing of a text; mean for image encoders
            without a [CLS] token (SigLIP, Swin, ResNet, VideoMAE, ...).
        layers: which layers to keep besides the embedding output: all, every-N, group-K or a list
            such as [1, 3, 5], counted from 0.
        revision: hub revision to pin.
        max_tokens: longer texts are cut there; by default 30 for titles (the papers), 128 for other texts.
        lowercase: whether texts are lower-cased first.
        dtype: precision to compute in. auto is float32 on a CPU and saved on a GPU; saved is what the encoder's
            weights were saved in (float32 for BERT, bfloat16 for most LLMs). States depend on it.
        quantize: 8bit or 4bit quantises the weights while loading; it needs `pip install 'versa-toolkit[quantize]'`.
        trust_remote_code: runs code that comes with the encoder; off by default.
        frame_count: how many frames a video encoder reads of a clip, where it does not depend on its weights; by
            default as its configuration says, 5 for video networks of torchvision and pytorchvideo without position
            tables.
        crop_px: height and width of the frames that a video network of torchvision or pytorchvideo reads; by default
            224.
    """

    encoder: str = ""
    source: str = "title"
    pooling: Pooling = "cls"
    layers: str | list[int] = "all"
    revision: str | None = None
    max_tokens: int | None = None
    lowercase: bool = True
    dtype: Precision = "auto"
    quantize: Quantize = "none"
    trust_remote_code: bool = False
    frame_count: int | None = None
    crop_px: int | None = None

    def __post_init__(self) -> None:
        refuse_below(dict.fromkeys(("max_tokens", "frame_count", "crop_px"), 1), vars(self))

    @classmethod
    def of_record(cls, states: Mapping[str, str], step: Mapping[str, Any]) -> "EncoderSpec":
        """The encoder of stored states. Code that comes with it is not trusted: that is the user's decision.

        Args:
            states: metadata of the table (`toolkit.Dataset.states_metadata`).
            step: configuration of the step that wrote the table, from `dataset.json`.
        """
        known = {field.name for field in fields(EncoderSpec)} - {"trust_remote_code"}
        settings = {key: value for key, value in step.items() if key in known}
        settings |= {key: states[key] for key in ("encoder", "source", "pooling")}
        # What `auto` resolved to. Tables of an older Versa record neither, and all had these values.
        settings["dtype"] = states.get("precision", "float32")
        settings["quantize"] = states.get("quantize", "none")
        return EncoderSpec(**settings)

    @property
    def modality(self) -> Modality:
        """`text` or `image`: it follows from the source."""
        return modality_of(self.source)

    @property
    def token_limit(self) -> int:
        """The number of tokens after which texts are cut: `max_tokens`, or the default of the source."""
        return self.max_tokens or (TITLE_TOKENS if self.source == "title" else TEXT_TOKENS)
