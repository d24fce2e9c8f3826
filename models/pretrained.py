"""The model folder: weights as safetensors, shapes as JSON, a card to read. Nothing in it can execute."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from safetensors.torch import load_file, save
from torch import nn

from models.items import IdEmbedding, SideNetwork
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.errors import UserError
from toolkit.store import read_json, write_atomically, write_json
from toolkit.towers import TowerSpec

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FORMAT = 1

ITEM_ENCODERS: dict[str, type[nn.Module]] = {"side-network": SideNetwork, "id": IdEmbedding}
SEQUENCE_ENCODERS: dict[str, type[nn.Module]] = {"sasrec": SASRec}


def save_pretrained(model: Recommender, folder: str | Path) -> None:
    """Writes `config.json` and `model.safetensors`; each file is whole or absent.

    The config says the shapes, and what the states of the towers were made with (`models.made_with`).

    A run saves one model over and over: its shapes stay, so a reader between the two files sees
    an older set of weights, never a mix.
    """
    folder = Path(folder)
    config = {
        "format": FORMAT,
        "item_encoder": _describe(model.item_encoder, ITEM_ENCODERS),
        "sequence_encoder": _describe(model.sequence_encoder, SEQUENCE_ENCODERS),
        "made_with": model.made_with,
    }
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    write_json(folder / CONFIG, config)
    write_atomically(folder / WEIGHTS, lambda file: file.write(save(tensors)))


def from_pretrained(path: str | Path, *, revision: str | None = None) -> Recommender:
    """Reads a model folder, or downloads one from the hub by name.

    Args:
        path: folder, or `owner/name` on the hub.
        revision: hub revision.

    Raises:
        UserError: if there is no model, or the weights do not fit it.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder = _download(str(path), revision)
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder / CONFIG}: format {config.get('format')}, this Versa reads {FORMAT}"
        )
    with torch.device("meta"):  # no random weights that would be thrown away at once
        model = Recommender(
            _build(config["item_encoder"], ITEM_ENCODERS),
            _build(config["sequence_encoder"], SEQUENCE_ENCODERS),
            made_with=config.get("made_with"),  # absent where an older Versa wrote it
        )
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{folder}: no {WEIGHTS} here; is this the model folder of a run?")
    try:
        model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except RuntimeError as error:
        raise UserError(f"{folder / WEIGHTS}: the weights do not fit {CONFIG} ({error})") from None
    return model.eval()


def push_to_hub(folder: str | Path, name: str, *, private: bool = True) -> str:
    """Uploads a model folder to the hub: weights, config, and its card where it has one; nothing else in it.

    Args:
        folder: model folder.
        name: `owner/name` on the hub; made where it does not exist.
        private: whether only the owner sees it, if it is made now.

    Returns:
        Its address.

    Raises:
        UserError: if the folder is no model, or the hub does not take it (no token, no network, no such owner).
    """
    folder = Path(folder)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise UserError(f"{folder}: no {file} here; is this the model folder of a run?")
    files = [file for file in (CONFIG, WEIGHTS, CARD) if (folder / file).is_file()]
    try:
        api = HfApi()
        made = api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(  # one commit: config and weights that fit each other
            made.repo_id,
            [CommitOperationAdd(file, folder / file) for file in files],
            commit_message="Model folder of a Versa run",
        )
    except Exception as error:  # the hub's client raises many kinds
        raise UserError(
            f"{name}: the hub did not take {folder} ({_first_line(error)}); a token with write access is needed "
            "(`hf auth login`, or HF_TOKEN), the network, and a name such as owner/name"
        ) from None
    return str(made)


def _describe(module: nn.Module, kinds: dict[str, type[nn.Module]]) -> dict[str, Any]:
    for kind, cls in kinds.items():
        if type(module) is cls:
            return {"kind": kind, **module.settings()}  # type: ignore[operator]
    raise ValueError(f"{type(module).__name__} cannot be saved; known kinds: {list(kinds)}")


def _build(settings: dict[str, Any], kinds: dict[str, type[nn.Module]]) -> nn.Module:
    settings = dict(settings)
    kind = settings.pop("kind")
    if kind not in kinds:
        raise UserError(f"model kind {kind!r} is unknown to this Versa; known: {list(kinds)}")
    if "towers" in settings:
        settings["towers"] = [TowerSpec(**spec) for spec in settings["towers"]]
    return kinds[kind](**settings)


def _download(name: str, revision: str | None) -> Path:
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such model folder")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the hub's client raises many kinds
        raise UserError(
            f"{name!r} is no local folder, and the hub did not give it ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    """What an error says first; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
