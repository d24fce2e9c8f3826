"""The overlays of encoders that train: IISAN's baselines, counted against the public code, and combined with presets."""

from pathlib import Path

import pytest
from meta_encoders import on_meta

from models.config import PRESETS, RunConfig, parse_run_config
from models.items import TrainedEncoders
from models.items.encoder_settings import EncoderSettings
from models.parameters import count_trainable, rate_groups
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.yaml_files import read_yaml

OVERLAYS = ("fft", "adapter", "lora", "bitfit", "top-2")
SCENARIOS = (
    "text-only",
    "image-caption",
    "video-caption",
    "face-caption",
    "raw-image",
    "raw-video",
    "all-towers",
)
HEADS, USER = 106_688, 100_224
# ViT-base and BERT-base, counted with the public wiring (shared/golden/family/README.mmsr-adapters-iisan.md). The public
# BitFit counts the 768 biases of BERT's pooler too, on which no loss depends. top-2: two layers of 7,087,872 parameters,
# and ViT's final norm.
LAYER, NORM = 7_087_872, 1_536
COUNTS = {
    "fft": (85_798_656, 108_891_648),
    "adapter": (2_379_264, 2_379_264),
    "lora": (313_344, 313_344),
    "bitfit": (102_912, 102_912 - 768),
    "top-2": (2 * LAYER + NORM, 2 * LAYER),
}
# By learning-rate group of the published training scripts.
RATES = {
    "fft": {"text_encoder": 5e-5, "image_encoder": 1e-4, "base": 1e-4},
    "adapter": {"text_adapter": 4e-4, "image_adapter": 4e-4, "base": 2e-4},
    "lora": {
        **{"text_adapter": 4e-4, "image_adapter": 4e-4, "base": 2e-4},
        **{"text_encoder": 5e-5, "image_encoder": 1e-4},
    },
    "bitfit": {"text_encoder": 5e-5, "image_encoder": 1e-4, "base": 2e-4},
    "top-2": {"text_encoder": 5e-5, "image_encoder": 1e-4, "base": 1e-4},
}


def config_of(*more: str) -> RunConfig:
    return parse_run_config([*more, "--data=data", "--output=run"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_trains_is_what_the_public_code_trains(overlay: str) -> None:
    config = config_of("--config=raw-image", f"--config={overlay}")
    chosen = {
        name: EncoderSettings(name, source=name, adapt=config.adapt, adapt_settings=config.adapt_settings)
        for name in config.towers
    }  # fmt: skip
    items = TrainedEncoders(
        chosen,
        embedding_dim=config.side.embedding_dim,
        fusion=config.fusion_kind.make(config.fusion),
        load=on_meta,
    )
    counted = {name: count_trainable(encoder) for name, encoder in items.encoders.items()}
    assert (counted["cover"], counted["title"]) == COUNTS[overlay]
    assert count_trainable(items.heads) + count_trainable(items.fusion) == HEADS
    user = config.sequence_kind.build(config.sequence, embedding_dim=64, initial_std=None)
    assert count_trainable(user) == USER
    # What the public code lacks: a learned state per tower for items without content.
    assert count_trainable(items) == sum(counted.values()) + HEADS + count_trainable(items.missing)
    groups = {group for group, _ in rate_groups(items)}
    assert groups == set(RATES[overlay])
    assert {group: getattr(config.train.rates, group) for group in groups} == RATES[overlay]
    assert (config.train.batch_size, config.train.optimizer) == (32, "adam")


def test_overlays_combine_with_every_scenario_and_replace_each_other() -> None:
    """In any order: scenarios set nothing but towers, and every overlay sets what another one sets."""
    files = {name: read_yaml(PRESETS / f"{name}.yaml") for name in (*SCENARIOS, *OVERLAYS)}
    assert all(set(files[name]) == {"towers"} for name in SCENARIOS)
    for name in OVERLAYS:
        assert {"item", "adapt", "adapt_settings", "train"} == set(files[name])
        assert {"batch_size", "epochs", "patience", "rates"} == set(files[name]["train"])
    config = config_of("--config=lora", "--config=raw-video", "--config=bitfit")
    assert (config.item, config.towers) == ("encoders", ["title", "frames"])
    assert (config.adapt, config.adapt_settings) == ("bitfit", {})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_train_without_stored_towers(
    overlay: str, raw_dataset: Path, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    assert open_dataset(raw_dataset).towers() == []
    more = [
        *("--config=raw-image", f"--config={overlay}", f"--data={raw_dataset}"),
        *(f"--output={tmp_path / 'run'}", "--train.epochs=1", "--train.trackers=[]"),
        *("--encoders.title.pooling=mean", "--encoders.cover.pooling=mean"),
    ]
    with pytest.raises(UserError, match=r"add --encoders\.title\.encoder NAME"):
        train(parse_run_config(more))
    more += [f"--encoders.title.encoder={tiny_bert}", f"--encoders.cover.encoder={tiny_vit}"]
    train(parse_run_config(more))
    assert (tmp_path / "run" / "metrics" / "test.json").is_file()
