"""Tiny image-text-to-text models with random weights, built from configurations, one folder each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
TEMPLATE = (
    "{{% for message in messages %}}<|user|>{{% for part in message['content'] %}}"
    "{{% if part['type'] == 'image' %}}{image}{{% elif part['type'] == 'video' %}}{video}"
    "{{% else %}}{{{{ part['text'] }}}}{{% endif %}}{{% endfor %}}<|end|>{{% endfor %}}"
    "{{% if add_generation_prompt %}}<|assistant|>{{% endif %}}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}


def tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """One token a character, and the special ones; 0 pads, 1 ends."""
    words = ["<pad>", "<|end|>", "<unk>", "<|user|>", "<|assistant|>", *special, *CHARACTERS]
    backend = Tokenizer(models.WordLevel({w: row for row, w in enumerate(words)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|user|>", "<|assistant|>", *special],
    )


def llava_onevision(folder: Path) -> None:
    """Images and video, all sizes of images cut into patches of 28 px."""
    tokens = tokenizer("<image>", "<video>")
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokens), **TEXT},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        video_token_id=tokens.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_9",
    )
    size = {"height": 28, "width": 28}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size=size, image_grid_pinpoints=config.image_grid_pinpoints
        ),
        tokenizer=tokens,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE.format(image="<image>", video="<video>"),
    )
    _save(folder, LlavaOnevisionForConditionalGeneration, config, processor)


def qwen2_5_vl(folder: Path) -> None:
    """Images and video; the times of the frames go into the positions."""
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokens = tokenizer(*special)
    ids = dict(zip(special, tokens.convert_tokens_to_ids(list(special)), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokens),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 2],
            },
            **TEXT,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    shown = "<|vision_start|>{}<|vision_end|>"
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokens,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=TEMPLATE.format(
            image=shown.format("<|image_pad|>"), video=shown.format("<|video_pad|>")
        ),
    )
    _save(folder, Qwen2_5_VLForConditionalGeneration, config, processor)


def idefics3(folder: Path) -> None:
    """Images alone, cut into 28 px pieces and padded to the most that one of the batch has."""
    special = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    pieces = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    tokens = tokenizer(*special, *pieces)
    config = Idefics3Config(
        text_config={"model_type": "llama", "vocab_size": len(tokens), **TEXT},
        vision_config=VISION,
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
        ),
        tokenizer=tokens,
        image_seq_len=1,
        chat_template=TEMPLATE.format(image="<image>", video=""),
    )
    _save(folder, Idefics3ForConditionalGeneration, config, processor)


def blip(folder: Path) -> None:
    """Images alone, no chat template."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *CHARACTERS[1:95]]
    tokens = BertTokenizer(vocab={word: row for row, word in enumerate([*words, *("##" + w for w in words[6:])])})  # fmt: skip
    text = {
        **{key: value for key, value in TEXT.items() if key != "num_key_value_heads"},
        "vocab_size": len(tokens),
        "encoder_hidden_size": 32,
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
    }
    config = BlipConfig(text_config=text, vision_config=VISION)
    processor = BlipProcessor(BlipImageProcessor(size={"height": 28, "width": 28}), tokens)
    _save(folder, BlipForConditionalGeneration, config, processor)


def blip2(folder: Path) -> None:
    """Images alone, no chat template; its processor puts the image's tokens before the prompt."""
    tokens = tokenizer("<image>")
    config = Blip2Config(
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokens),
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        vision_config=VISION,
        qformer_config={
            "vocab_size": len(tokens),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "encoder_hidden_size": 32,
        },
        num_query_tokens=4,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    images = BlipImageProcessor(size={"height": 28, "width": 28})
    _save(folder, Blip2ForConditionalGeneration, config, Blip2Processor(images, tokens, 4))


MODELS: dict[str, Callable[[Path], None]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "blip": blip,
    "blip2": blip2,
}


def _save(folder: Path, architecture: Any, config: Any, processor: Any) -> None:
    """Weights wide enough that what is shown changes what is said."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architecture(config)
        for weight in network.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.2)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
