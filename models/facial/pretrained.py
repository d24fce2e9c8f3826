"""The model folder of VL-FAU: weights as safetensors, settings as JSON, the phrases as YAML, and a card."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from models.facial.network import VLFAU
from models.facial.trained import FaceRecord, TrainedFaces
from models.parameters import gathered, kept_state, load_kept_state
from toolkit.arguments import a_path
from toolkit.atomic import write_atomically
from toolkit.digests import sha256_of
from toolkit.errors import UserError
from toolkit.facs import facs
from toolkit.json_files import read_json_object, write_json

CONFIG, WEIGHTS, FACS, CARD = "config.json", "model.safetensors", "facs.yaml", "README.md"
FORMAT = 1
KIND = "vl-fau"
FILES = [CONFIG, WEIGHTS, FACS]


def save_model(network: VLFAU, record: FaceRecord, folder: Path, *, facs_file: Path) -> None:
    """Writes `model.safetensors`, `facs.yaml` and `config.json`, which is last.

    Args:
        network: the network.
        record: what else prediction needs.
        folder: model folder.
        facs_file: the YAML file of the phrases that it was trained with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = save(gathered(kept_state(network)), metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS, partial(_write, data))
    shutil.copyfile(facs_file, folder / FACS)
    save_record(network, record, folder)


def save_record(network: VLFAU, record: FaceRecord, folder: Path) -> None:
    """Writes `config.json` for the weights in the folder."""
    config = {
        "format": FORMAT,
        "kind": KIND,
        "network": network.settings(),
        **record.as_dict(),
        "weights_sha256": sha256_of(folder / WEIGHTS),
    }
    write_json(folder / CONFIG, config)


def from_pretrained(path: str | Path, *, revision: str | None = None) -> TrainedFaces:
    """Reads a model folder of `models.facial.train`, or downloads one from the hub by name.

    Args:
        path: RUN/model, or `owner/name` on the hub.
        revision: hub revision.

    Raises:
        UserError: if there is no such model, a file is damaged, or the weights do not fit the settings.
    """
    folder = a_path(path, name="model folder")
    if not folder.is_dir():
        folder = _download(str(path), revision)
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise UserError(
            f"{folder}: not a model folder of faces, because it has no {absent[0]}; pass RUN/model of a run of "
            "models.facial.train"
        )
    config = read_json_object(folder / CONFIG)
    if config.pop("kind", None) != KIND or config.pop("format", None) != FORMAT:
        raise UserError(
            f"{folder / CONFIG}: not a {KIND} model of format {FORMAT}; pass RUN/model of a run of models.facial.train"
        )
    if config.pop("weights_sha256", None) != sha256_of(folder / WEIGHTS):
        raise UserError(
            f"{folder / WEIGHTS}: changed since it was saved; restore the file, or train again"
        )
    tensors = _weights(folder / WEIGHTS)
    settings = config.pop("network", None)
    try:
        _refuse_large(settings, sum(tensor.numel() for tensor in tensors.values()))
        with torch.random.fork_rng(devices=[]):
            network = VLFAU.from_settings(settings)
        load_kept_state(network, tensors)
        record = FaceRecord.from_dict(config)
    except Exception as error:  # torch and Python raise many types for invalid settings
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / CONFIG}: not the settings of these weights ({reason:.200}); restore both files"
        ) from None
    return TrainedFaces(network.eval(), record, facs((folder / FACS).resolve()))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable file of weights ({' '.join(str(error).split())}); restore it, or train again"
        ) from None


def _refuse_large(value: Any, most: int) -> None:
    """Refuses a size above the number of all weights, before a network is built that would fill the memory.

    Raises:
        ValueError: if there is one.
    """
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_large(inner, most)
    elif isinstance(value, int | float) and not -1 <= value <= most:
        raise ValueError(f"{value} is more than its {most} weights")


def _download(name: str, revision: str | None) -> Path:
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such model folder")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # the hub's client raises many types
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{name!r} is not a local folder, and its download from the hub failed ({reason}); check the name and the "
            "network connection"
        ) from None


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)
