"""The model folder: weights as safetensors, settings as JSON, and a model card. No file in it can execute code.

LoRA-like adapters lie beside the weights, as peft lays them out (`models.runs.adapter_files`).
"""

import hashlib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from safetensors.torch import save
from torch import nn

from models.config import RunConfig
from models.migrate import FORMATS, migrate
from models.parameters import gathered, kept_state
from models.recommender import Model
from models.runs.adapter_files import CONFIG as ADAPTER_CONFIG
from models.runs.adapter_files import FOLDER as ADAPTERS
from models.runs.adapter_files import adapter_weights, adapters_of
from models.runs.model_files import (
    PARTS,
    Kinds,
    build_model,
    parts_of,
    read_weights,
    weights_digest,
)
from toolkit.arguments import a_path
from toolkit.atomic import write_atomically
from toolkit.digests import sha256_of
from toolkit.errors import UserError
from toolkit.json_files import read_json_object, write_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FORMAT = FORMATS["model"]
_NAMED_BY_TOWER = 3  # first format in which the parts of a network are named after their towers


def save_pretrained(model: Model, folder: str | Path, *, write: bool = True) -> None:
    """Writes `config.json`, `model.safetensors` and the files of adapters, each atomically.

    All processes call it if the model is sharded.

    The config records the shapes, the provenance of the towers' states (`models.inputs.provenance`), and the SHA-256 of
    the weights.

    A run saves the same model repeatedly. The shapes do not change, so a reader between the two writes loads the older
    weights. While the weights are written, the config lists the digests of both versions, so a run that is killed at
    that point leaves a readable model; of a model with adapters, one that is refused if it is killed between the files.

    Args:
        model: the model.
        folder: model folder.
        write: whether this process writes; otherwise it only sends its shards.
    """
    tensors = gathered(kept_state(model), wanted=write)
    if not write:
        return
    folder = Path(folder)
    files: dict[str, bytes] = {}
    for adapter in adapters_of(model):
        own = {theirs: tensors.pop(ours) for ours, theirs in adapter.names.items()}
        files[adapter.file] = save(own, metadata={"format": "pt"})
        write_json((folder / adapter.file).with_name(ADAPTER_CONFIG), adapter.config)
    files = {WEIGHTS: save(tensors), **files}
    config = {
        "format": FORMAT,
        **{part: _describe(module, PARTS[part]) for part, module in parts_of(model).items()},
        "made_with": model.made_with,
    }
    digest = weights_digest(
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    older = {name: sha256_of(folder / name) for name in files if (folder / name).is_file()}
    replaced = [weights_digest(older)] if older else []
    write_json(folder / CONFIG, {**config, "weights_sha256": [digest, *replaced]})
    for name, data in files.items():
        write_atomically(folder / name, partial(_write, data))
    if replaced:
        write_json(folder / CONFIG, {**config, "weights_sha256": [digest]})


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def from_pretrained(
    path: str | Path,
    *,
    revision: str | None = None,
    encoders: Mapping[str, str] | None = None,
    stored_tokens: Collection[str] = (),
    trust_remote_code: bool = False,
) -> Any:
    """Reads a model folder, or downloads one from the hub by name.

    Args:
        path: folder, or `owner/name` on the hub.
        revision: hub revision.
        encoders: by tower, where the base encoder of a model of trained encoders lies, if not where its name says: the
            name of a folder is recorded without the path to it.
        stored_tokens: towers whose encoders are to run on stored token states instead of raw content.
        trust_remote_code: runs code that comes with the base encoders.

    Raises:
        UserError: if there is no model; if a file has an unexpected format; or if the weights have changed since they
            were saved, do not fit the config, or are not finite; or if a base encoder is missing
            or has changed.
    """
    folder = model_folder(path, revision=revision)
    record = read_json_object(folder / CONFIG)
    config = migrate(record, "model", where=folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{folder}: not a model folder, because it has no {WEIGHTS}; pass RUN/model"
        )
    weights = read_weights(folder / WEIGHTS)
    own = {name: {"encoder": place} for name, place in (encoders or {}).items()}
    for name in stored_tokens:
        own[name] = {**own.get(name, {}), "from_layer": "stored"}
    config = _with_base(config, own, trust_remote_code, where=folder / CONFIG)
    model = build_model(config, weights, where=folder / CONFIG)
    if record.get("format", 0) < _NAMED_BY_TOWER:
        weights = weights.named_by_tower(model)
    weights.load_into(model)
    weights.refuse_changed(config.get("weights_sha256", []))
    return model.eval()


def model_folder(path: str | Path, *, revision: str | None = None) -> Path:
    """A model folder, downloaded if the path is a name on the hub. Arguments and errors are those of `from_pretrained`."""
    folder = a_path(path, name="model folder")
    return folder if folder.is_dir() else _download(str(path), revision)


def digest_of(folder: Path) -> str:
    """The digest of the weights in a model folder, as its config.json records it."""
    files = (WEIGHTS, *adapter_weights(folder))
    return weights_digest({file: sha256_of(folder / file) for file in files})


def base_of(config: RunConfig) -> dict[str, Any]:
    """Where a run's base encoders lie, what they read, and whether their code is run, as `from_pretrained` takes it."""
    return {
        "encoders": {name: str(one.encoder) for name, one in config.encoders.items()},
        "stored_tokens": config.reads.tokens,
        "trust_remote_code": any(one.trust_remote_code for one in config.encoders.values()),
    }


def _with_base(
    config: dict[str, Any], own: Mapping[str, Mapping[str, str]], trust: bool, *, where: Path
) -> dict[str, Any]:
    """A model's config with the caller's own settings of base encoders: where they lie, and whether to run their code."""
    item = config.get("item_encoder")
    towers = item.get("encoders") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(towers, dict):
        return config
    if not all(isinstance(tower, dict) for tower in towers.values()):
        raise UserError(f"{where}: item_encoder.encoders is damaged; restore the file")
    unknown = sorted(set(own) - set(towers))
    if unknown:
        raise UserError(f"encoders names {unknown}; the model's towers are {list(towers)}")
    placed = {
        name: {**tower, "from_layer": None, **own.get(name, {}), "trust_remote_code": trust}
        for name, tower in towers.items()
    }
    return {**config, "item_encoder": {**item, "encoders": placed}}


def push_to_hub(
    folder: str | Path,
    name: str,
    *,
    private: bool = True,
    encoders: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> str:
    """Uploads a model folder to the hub: weights, adapters, config and, if present, the card. Other files are not uploaded.

    Args:
        folder: model folder.
        name: `owner/name` on the hub; created if it does not exist.
        private: whether a newly created repository is visible to its owner only.
        encoders: see `from_pretrained`; the model is loaded once before the upload.
        trust_remote_code: see `from_pretrained`.

    Returns:
        URL of the repository.

    Raises:
        UserError: if the folder is not a model folder or is damaged; if one of its files is a link to another folder;
            or if the upload fails (no token, no network, no such owner).
    """
    folder = a_path(folder, name="model folder")
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise UserError(
                f"{folder}: not a model folder, because it has no {file}; pass RUN/model"
            )
    adapters = adapter_weights(folder)
    configs = [Path(file).with_name(ADAPTER_CONFIG).as_posix() for file in adapters]
    known = (CONFIG, WEIGHTS, CARD, *adapters, *configs)
    files = [file for file in known if (folder / file).is_file()]
    for file in files:  # a link in an untrusted run could point to any file of this machine
        if not (folder / file).resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{folder / file}: a link to a file outside the folder, which is not uploaded; replace it by a copy of "
                "the file"
            )
    # Refuses a damaged model before the upload.
    from_pretrained(folder, encoders=encoders, trust_remote_code=trust_remote_code)
    try:
        api = HfApi()
        repository = api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(  # a single commit, so that config and weights always fit
            repository.repo_id,
            [CommitOperationAdd(file, folder / file) for file in files],
            commit_message="Model folder of a Versa run",
        )
    except Exception as error:  # the hub's client raises many types
        raise UserError(
            f"{name}: the upload of {folder} failed ({_first_line(error)}); it requires a token with write access "
            "(`hf auth login`, or HF_TOKEN), a network connection, and a name such as owner/name"
        ) from None
    return str(repository)


def _describe(module: nn.Module, kinds: Kinds) -> dict[str, Any]:
    for name, kind in kinds.items():
        if type(module) is kind.module:
            return {"kind": name, **kind.describe(module)}
    raise ValueError(
        f"{type(module).__name__} cannot be saved, because its kind is not registered; known kinds: {list(kinds)}"
    )


def _download(name: str, revision: str | None) -> Path:
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such model folder")
    try:
        wanted = [CONFIG, WEIGHTS, f"{ADAPTERS}/*"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many types
        raise UserError(
            f"{name!r} is not a local folder, and its download from the hub failed ({_first_line(error)}); check the "
            "name and the network connection"
        ) from None


def _first_line(error: Exception) -> str:
    """The first line of an error's message; its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
