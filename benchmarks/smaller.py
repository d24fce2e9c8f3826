"""Small versions of a study's methods, which train on a CPU: the twins (`benchmarks.twins`) and the tests' rehearsals.

A method keeps its presets and settings, but for what is listed in FOLDER/small.yaml and the encoders that it trains.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from models.config import RatesConfig, parse_run_config
from models.general import GENERAL
from models.study.plan import Method, Plan

LAYERS = 3
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    # 1 / sqrt(32): with the usual 0.02, layers this narrow give all items nearly the same state.
    "initializer_range": 0.18,
}
LENGTH = 0.2  # factor of the last states
IMAGE_PX, PATCH_PX = 32, 16
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
IMAGES = ("cover", "frames")  # the other towers read texts
# What a few hundred updates of new weights need; at three times these rates, item vectors collapse.
RATES = {one.name: 3e-3 if one.name.endswith("adapter") else 1e-3 for one in fields(RatesConfig)}
OWN = {"side": {"embedding_dim": 48}, "train": {"batch_size": 16, "rates": RATES}}
_REPLACED = ("side.embedding_dim", "train.batch_size", "train.rates.")


def write_small(folder: Path, words: Sequence[str]) -> None:
    """Writes FOLDER/small.yaml, and random encoders of texts and images as FOLDER/bert and FOLDER/vit.

    Args:
        folder: new or existing folder.
        words: the vocabulary of the text encoder.
    """
    vocabulary = [*SPECIAL, *dict.fromkeys(words)]
    tokenizer = BertTokenizer(vocab={word: row for row, word in enumerate(vocabulary)})
    vit = ViTConfig(image_size=IMAGE_PX, patch_size=PATCH_PX, **SIZE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert_model = BertModel(BertConfig(vocab_size=len(vocabulary), **SIZE))
        vit_model = ViTModel(vit, add_pooling_layer=False)
    # States that start long give scores that few updates can only shrink.
    for norm in (bert_model.encoder.layer[-1].output.LayerNorm, vit_model.layernorm):
        torch.nn.init.constant_(norm.weight, LENGTH)
    bert_model.save_pretrained(folder / "bert")
    vit_model.save_pretrained(folder / "vit")
    tokenizer.save_pretrained(folder / "bert")
    side = {"height": IMAGE_PX, "width": IMAGE_PX}
    ViTImageProcessor(size=side).save_pretrained(folder / "vit")
    (folder / "small.yaml").write_text(yaml.safe_dump(OWN, sort_keys=False))


def small(method: Method, folder: Path, more: Mapping[str, Any] = MappingProxyType({})) -> Method:
    """A method with the settings of FOLDER/small.yaml, and with tiny encoders where it trains encoders.

    Args:
        method: a method of a study; one without epochs is returned as it is.
        folder: what `write_small` wrote.
        more: further settings, by dotted key.
    """
    words = Plan({}, [], {"own": method}).words("own", {})
    config = parse_run_config([*words, "--data=DATASET", "--output=RUN"])
    general = GENERAL.get(config.recommender.kind)
    if general is not None and not general.trains:
        return method
    settings: dict[str, Any] = {
        key: value for key, value in method.settings.items() if not key.startswith(_REPLACED)
    } | dict(more)
    top = re.fullmatch(r"top-(\d+)", str(config.adapt))
    if top and int(top[1]) > LAYERS:
        settings["adapt"] = "full"
    for tower in config.towers if config.item == "encoders" else ():
        own = folder / ("vit" if tower in IMAGES else "bert")
        settings[f"encoders.{tower}.encoder"] = str(own)
        if tower == "frames":
            settings["encoders.frames.frame_count"] = None  # all that the dataset has
    return Method([*method.config, str(folder / "small.yaml")], settings, method.search)


def source_of(method: Method) -> Method:
    """The run on a source platform that a method begins with (`init_from`): the same network before it is adapted.

    It is made small after this, because a preset's `adapt` may have to be.
    """
    own = {
        key: value
        for key, value in method.settings.items()
        if key != "init_from" and "adapt" not in key
    }
    return replace(method, settings=own)
