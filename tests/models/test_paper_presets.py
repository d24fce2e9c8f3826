"""The presets named after the tables of MicroLens, NineRec, IDvs.MoRec and MMSR, and after RecBole's models.

Published settings: shared/golden/family, README.microlens-ninerec-morec.md, table "Recipes in the scripts", and
README.mmsr-adapters-iisan.md.
"""

from pathlib import Path
from typing import Any

import pytest
from meta_encoders import on_meta

from models.config import RunConfig, parse_run_config, presets
from models.items import TrainedEncoders
from models.items.encoder_settings import EncoderSettings
from models.train import train
from toolkit.json_files import read_json

PAPERS = ("microlens-", "ninerec-", "morec-", "mmsr")
# Loss, width, batch of a process, rates of model and encoder, weight decays of model and encoder, epochs, patience.
RECIPES: dict[str, tuple[Any, ...]] = {
    "microlens-sasrec": ("in-batch", 1024, 512, 1e-4, None, 0.1, None, 50, 50),
    "microlens-gru4rec": ("in-batch", 1024, 512, 1e-4, None, 0.1, None, 50, 50),
    "microlens-nextitnet": ("in-batch", 1024, 512, 1e-4, None, 0.1, None, 50, 50),
    "microlens-text": ("in-batch", 512, 256, 1e-4, 5e-5, 0.1, 0, 50, 50),
    "microlens-image": ("in-batch", 512, 32, 1e-4, 1e-4, 0.1, 0, 50, 50),
    "microlens-video": ("in-batch", 512, 45, 1e-4, 1e-4, 0.1, 0, 50, 50),
    "ninerec-sasrec": ("bce", 1024, 32, 5e-5, None, 0.1, None, 120, 30),
    "ninerec-text": ("bce", 1024, 32, 5e-5, 1e-5, 0.1, 0, 120, 30),
    "ninerec-image": ("bce", 1024, 8, 1e-4, 1e-5, 0.1, 0, 120, 30),
    "ninerec-bert4rec": ("bce", 256, 10, 1e-4, None, 0.1, None, 120, 120),
    "ninerec-s2o": ("bce", 1024, 8, 5e-5, None, 0.1, None, 120, 20),
    "morec-id": ("bce", 512, 128, 1e-4, None, 0.1, None, 150, 6),
    "morec-text": ("bce", 512, 32, 1e-4, 5e-5, 0.01, 0.01, 150, 6),
    "morec-image": ("bce", 512, 16, 1e-4, 1e-4, 0.01, 0.01, 150, 6),
    "morec-two-stage": ("bce", 512, 64, 1e-4, None, 0.1, None, 150, 10),
    "microlens-gru4rec-video": ("in-batch", 512, 120, 1e-4, 1e-4, 0.1, 0, 50, 50),
    "microlens-nextitnet-video": ("in-batch", 512, 120, 1e-4, 1e-4, 0.1, 0, 50, 50),
    "ninerec-multimodal": ("bce", 768, 128, 1e-4, 1e-4, 0.1, 0, 150, 20),
    "mmsr": ("bce", 768, 64, 1e-4, 1e-4, 0.1, 0, 150, 10),  # no patience is published
}
# General recommenders: loss, width, batch, rate, weight decay, epochs, patience.
GENERAL: dict[str, tuple[Any, ...]] = {
    "microlens-dssm": ("in-batch", 512, 1024, 1e-4, 0, 120, 10),
    "microlens-lightgcn": ("in-batch", 512, 128, 1e-4, 0, 100, 10),
    "microlens-nfm": ("in-batch", 1024, 64, 1e-4, 0, 120, 5),
    "microlens-deepfm": ("in-batch", 1024, 64, 1e-4, 0, 120, 5),
    "microlens-vbpr": ("in-batch", 512, 1024, 1e-3, 0, 120, 10),
    "ninerec-dssm": ("bce", 1024, 4096, 1e-4, 0.1, 120, 30),
    "ninerec-youtubednn": ("bce", 2048, 256, 5e-4, 0, 220, 30),
    "morec-dssm": ("bce", 512, 512, 1e-3, 0.01, 60, 10),
}
RECBOLE = ("gru4rec-recbole", "nextitnet-recbole", "bert4rec-recbole", "lightgcn-recbole")
WITH_IDS = (*RECBOLE, "microlens-sasrec", "microlens-gru4rec", "microlens-nextitnet", "ninerec-sasrec",
            "ninerec-bert4rec", "ninerec-s2o", "morec-id", "ninerec-dssm", "ninerec-youtubednn",
            "microlens-nfm", "microlens-lightgcn")  # fmt: skip
# Index of the first parameter that trains in the public code. `ninerec-text` trains the parameter before as well, the last bias
# of a layer that is otherwise frozen.
FIRST_TRAINED = {"microlens-text": 165, "microlens-image": 164, "ninerec-text": 101}


def config_of(preset: str, *more: str) -> RunConfig:
    return parse_run_config([f"--config={preset}", "--data=data", "--output=run", *more])


def recipe_of(config: RunConfig) -> tuple[Any, ...]:
    settings, rates = config.train, vars(config.train.rates)
    group = ""
    if config.item == "encoders":
        group = "text_encoder" if config.towers[0] == "title" else "image_encoder"
    return (
        *(settings.loss, config.side.embedding_dim, settings.batch_size),
        *(rates["base"], rates.get(group), settings.weight_decay),
        settings.group_weight_decay.get(group, settings.weight_decay) if group else None,
        *(settings.epochs, settings.patience),
    )


def recipe_of_general(config: RunConfig) -> tuple[Any, ...]:
    settings = config.train
    return (
        *(settings.loss, config.side.embedding_dim, settings.batch_size, settings.rates.base),
        *(settings.weight_decay, settings.epochs, settings.patience),
    )


def test_presets_have_the_published_settings() -> None:
    configs = {name: config_of(name) for name in presets() if name.startswith(PAPERS)}
    del configs["morec-in-batch"]
    general = {name: configs.pop(name) for name in GENERAL}
    assert {name: recipe_of_general(config) for name, config in general.items()} == GENERAL
    assert {config.train.optimizer for config in general.values()} == {"adamw"}
    assert {name: recipe_of(config) for name, config in configs.items()} == RECIPES
    for name, config in configs.items():
        of_microlens = name.startswith("microlens")
        assert config.sequence.max_len == (10 if of_microlens else 20)
        assert config.train.clip_norm == (5 if of_microlens else 0)
        assert vars(config.sequence)["dropout"] == 0.1
        assert config.train.optimizer == "adamw"


def test_the_in_batch_overlay_changes_only_the_training_of_morec() -> None:
    plain, other = config_of("morec-text"), config_of("morec-text", "--config=morec-in-batch")
    assert recipe_of(other) == ("in-batch", 512, 128, 1e-4, 5e-5, 0.01, 0.01, 50, 10)
    assert (other.item, other.encoders, other.sequence) == (
        plain.item,
        plain.encoders,
        plain.sequence,
    )


@pytest.mark.parametrize("preset", FIRST_TRAINED)
def test_the_published_layers_train(preset: str) -> None:
    config = config_of(preset)
    (tower,) = config.towers
    items = TrainedEncoders(
        {tower: EncoderSettings(tower, source=tower, adapt=config.adapt)},
        embedding_dim=config.side.embedding_dim,
        fusion=config.fusion_kind.make(config.fusion),
        load=on_meta,
    )
    parameters = list(items.encoders[tower].model.named_parameters())  # type: ignore[union-attr]
    trained = [name for name, parameter in parameters if parameter.requires_grad]
    published = [name for name, _ in parameters[FIRST_TRAINED[preset] :]]
    assert trained == [name for name in published if "pooler" not in name]


def smaller(preset: str, data: Path, run: Path) -> list[str]:
    """Options for one short epoch of a small model."""
    return [
        *(f"--config={preset}", f"--data={data}", f"--output={run}", "--side.embedding_dim=8"),
        *("--sequence.max_len=5", "--train.epochs=1", "--train.trackers=[]"),
    ]


@pytest.mark.parametrize("preset", WITH_IDS)
def test_presets_with_ids_train(preset: str, dataset: Path, tmp_path: Path) -> None:
    train(parse_run_config(smaller(preset, dataset, tmp_path / "run")))
    report = read_json(tmp_path / "run" / "metrics" / "test.json")
    assert report["protocol"] == ("unmasked" if preset in RECBOLE else "paper")


@pytest.mark.parametrize("preset", ["microlens-text", "ninerec-text", "morec-text"])
def test_presets_with_text_train(
    preset: str, raw_dataset: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    words = [f"--encoders.title.encoder={tiny_bert}", "--encoders.title.pooling=mean"]
    if preset != "morec-text":
        words += ["--adapt=top-1"]  # of 3 layers
    train(parse_run_config([*smaller(preset, raw_dataset, tmp_path / "run"), *words]))
    assert (tmp_path / "run" / "metrics" / "test.json").is_file()


def test_the_two_stage_preset_trains_over_stored_states(dataset: Path, tmp_path: Path) -> None:
    train(
        parse_run_config(
            [*smaller("morec-two-stage", dataset, tmp_path / "run"), "--towers=[title]"]
        )
    )
    assert (tmp_path / "run" / "metrics" / "test.json").is_file()


def test_mmsr_trains_with_attention_over_tokens(
    raw_dataset: Path, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    words = [f"--encoders.title.encoder={tiny_bert}", f"--encoders.cover.encoder={tiny_vit}",
             "--encoders.title.adapt=top-1", "--fusion.heads=2"]  # fmt: skip
    train(parse_run_config([*smaller("mmsr", raw_dataset, tmp_path / "run"), *words]))
    assert (tmp_path / "run" / "metrics" / "test.json").is_file()
