"""Exports an encoder that a run trained: `python -m models export RUN --merged FOLDER [--tower NAME]`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.adaptation import merge
from models.config import RunConfig
from models.items.part_names import part_name
from models.runs.files import MODEL, read_run_config
from models.runs.markdown import code, plain
from models.runs.pretrained import CONFIG, base_of, from_pretrained
from toolkit.arguments import a_path
from toolkit.atomic import write_atomically
from toolkit.backbones import Encoder
from toolkit.backbones.resolve import portable
from toolkit.backbones.saving import save_encoder
from toolkit.backbones.zoo.name import parse_zoo_name
from toolkit.errors import UserError
from toolkit.json_files import read_json_object, write_json
from toolkit.versions import versions

PROVENANCE = "provenance.json"
CARD = "README.md"


def export_encoder(
    run: str | Path,
    folder: str | Path,
    *,
    tower: str | None = None,
    encoders: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Path]:
    """Writes an encoder that a run trained, its adapters merged into its weights.

    `transformers.AutoModel` opens the folder, and `prep encode --encode.TOWER.encoder FOLDER` stores its states, so that
    a side network can be trained over them. Of a video network of torchvision or pytorchvideo the folder has the weights
    under their published names, without the classification head (`LIBRARY:NETWORK@FOLDER/model.safetensors`).
    `provenance.json` records the run, the method and the base encoder.

    Args:
        run: run folder.
        folder: folder to write; absent or empty.
        tower: whose encoder; may be left out if the run trains one encoder.
        encoders: by tower, the path of the base encoder, if it has moved.
        trust_remote_code: runs code that comes with the base encoders.

    Returns:
        The folder, as `encoder`.

    Raises:
        UserError: if the run trains no encoder or has no model; if the tower has to be named; if the weights cannot hold
            what the method adds; if the base encoder is missing or has changed; or if the folder is not empty.
    """
    run, folder = a_path(run, name="run"), a_path(folder, name="folder")
    config = read_run_config(run)
    if not config.item_kind.trains_encoders:
        raise UserError(
            f"{run}: {config.item_kind.noun} trains no encoder, so there is none to export; train with --item encoders"
        )
    name = _choose(run, config, tower)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: not an empty folder; choose another name")
    if not (run / MODEL).is_dir():
        raise UserError(f"{run}: the run has no model yet; continue it with --resume")
    items: Any = from_pretrained(  # whole, also where the run read stored token states
        run / MODEL,
        encoders=base_of(config)["encoders"] | dict(encoders or {}),
        trust_remote_code=trust_remote_code,
    ).item_encoder
    chosen = items.chosen[name]
    encoder: Encoder = items.encoders[part_name(items.owners[name])]
    merge(encoder, chosen.adapt)
    facts = {
        "tower": name,
        "run": run.resolve().name,
        "weights_sha256": read_json_object(run / MODEL / CONFIG)["weights_sha256"][0],
        "adapt": chosen.adapt,
        "adapt_settings": chosen.adapt_settings,
        "base": {"encoder": portable(str(chosen.encoder)), "revision": items.revisions[name]},
        "reads": {
            key: getattr(encoder.spec, key)
            for key in ("source", "pooling", "lowercase", "max_tokens", "frame_count", "crop_px")
        },
        "versions": versions("torch", "transformers"),
    }
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        save_encoder(encoder, unfinished)
        write_json(unfinished / PROVENANCE, facts)
        write_atomically(unfinished / CARD, lambda file: file.write(_card(facts).encode()))
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"encoder": folder}


def _choose(run: Path, config: RunConfig, tower: str | None) -> str:
    """The tower whose encoder is exported."""
    names = config.content
    if tower is None and len(names) == 1:
        return names[0]
    if tower not in names:
        wrong = "not given" if tower is None else f"{tower!r}"
        raise UserError(
            f"--tower: {wrong}; {run} trains encoders of {', '.join(names)}: choose one of these"
        )
    return tower


def _card(facts: dict[str, Any]) -> str:
    base = facts["base"]
    zoo = parse_zoo_name(base["encoder"])
    return (
        f"---\nlibrary_name: {zoo.library if zoo else 'transformers'}\n---\n\n# {plain(facts['run'])}: {plain(facts['tower'])}\n\n"
        f"The encoder {code(base['encoder'])} (revision {code(base['revision'])}), trained with Versa as a part of the "
        f"recommender {code(facts['run'])} (adapt {code(facts['adapt'])}; SHA-256 of its weights "
        f"{code(facts['weights_sha256'])}). Adapters are merged into the weights. {code(PROVENANCE)} holds the same facts."
        "\n"
    )
