"""Parts of the bundled tiny VLM: vocabulary, processor, and an InternVL initialised with the bundled ViT."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    ViTConfig,
)

from prep.synth.vlm_task import CAPTION_WORDS

TINY_VIT = Path(__file__).parent / "tiny_vit"

TOKENS_PER_FRAME = 4  # one per quadrant of the picture
WIDTH = 128
LAYERS = 3
LONGEST_TOKENS = 2048

_NAMED_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<image>",
    "video_token": "<video>",
}
_PAD, _UNKNOWN, _END = "<pad>", "<unk>", "<end>"
_ROLES = ["<system>", "<user>", "<assistant>"]
# The processor writes "Frame1: " before a clip's first frame.
_FRAME_WORDS = [":", *(f"frame{number}" for number in range(1, 33))]
VOCABULARY = [
    *(_PAD, _UNKNOWN, _END),
    *_ROLES,
    *_NAMED_TOKENS.values(),
    *_FRAME_WORDS,
    *CAPTION_WORDS,
]

# Pictures follow the prompt in any case, so that the length of the prompt does not separate them from the answer.
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
<{{ message.role }}>
{%- if message.content is string -%}{{ message.content }}{%- else -%}
{%- for part in message.content if part.type == "text" -%}{{ part.text + " " }}{%- endfor -%}
{%- for part in message.content if part.type != "text" -%}
{%- if part.type == "video" -%}<video>{%- else -%}<image>{%- endif -%}
{%- endfor -%}
{%- endif -%}
<end>
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant>{%- endif -%}
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of the captions; most words of prompts are unknown tokens."""
    ids = {word: row for row, word in enumerate(VOCABULARY)}
    words = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        eos_token=_END,
        padding_side="left",
        model_max_length=LONGEST_TOKENS,
        extra_special_tokens=_NAMED_TOKENS | {f"{role[1:-1]}_token": role for role in _ROLES},
    )


def build_processor() -> InternVLProcessor:
    """A processor that scales each frame to one tile of the ViT's input size; clips are passed as frames."""
    side_px = ViTConfig.from_pretrained(TINY_VIT).image_size
    pixels = {
        "size": {"height": side_px, "width": side_px},
        "image_mean": [0.5] * 3,  # as the ViT was trained
        "image_std": [0.5] * 3,
    }
    return InternVLProcessor(
        # InternVL divides large pictures into tiles unless the maximum is one tile.
        GotOcr2ImageProcessor(**pixels, crop_to_patches=False, max_patches=1),
        build_tokenizer(),
        InternVLVideoProcessor(**pixels, do_sample_frames=False),
        image_seq_length=TOKENS_PER_FRAME,
        chat_template=_CHAT_TEMPLATE,
    )


def build_model() -> InternVLForConditionalGeneration:
    """An InternVL whose vision tower is the bundled ViT and whose language model has random weights."""
    vit = ViTConfig.from_pretrained(TINY_VIT)
    patches = (vit.image_size // vit.patch_size) ** 2
    config = InternVLConfig(
        vision_config=_vision_config(vit).to_dict(),
        text_config=_text_config().to_dict(),
        image_token_id=VOCABULARY.index(_NAMED_TOKENS["context_image_token"]),
        image_seq_length=TOKENS_PER_FRAME,
        downsample_ratio=(TOKENS_PER_FRAME / patches) ** 0.5,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.update(
        max_new_tokens=24, do_sample=False, eos_token_id=VOCABULARY.index(_END)
    )
    tower = model.model.vision_tower
    weights = rename_vit_weights(load_file(TINY_VIT / "model.safetensors"))
    tower.load_state_dict(tower.state_dict() | weights)
    return model


def _vision_config(vit: ViTConfig) -> InternVLVisionConfig:
    """A configuration with which InternVL's vision tower equals the ViT: layer scales of one, a final norm."""
    return InternVLVisionConfig(
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        hidden_size=vit.hidden_size,
        num_hidden_layers=vit.num_hidden_layers,
        num_attention_heads=vit.num_attention_heads,
        intermediate_size=vit.intermediate_size,
        layer_norm_eps=vit.layer_norm_eps,
        attention_bias=True,
        layer_scale_init_value=1.0,
        use_mean_pooling=False,
    )


def _text_config() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LONGEST_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=VOCABULARY.index(_PAD),
        eos_token_id=VOCABULARY.index(_END),
    )


_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.projection_layer",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",  # after the longer name that ends in it
}


def rename_vit_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a stored ViT under the names of InternVL's vision tower."""
    renamed = {}
    for name, weight in weights.items():
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        renamed[name] = weight
    return renamed
