"""The parts of a model card that a user of the model needs: provenance of towers and captions, and example code."""

import json
from typing import Any

import yaml

from models.general import GeneralRecommender
from models.inputs.provenance import is_imported, recipe
from models.runs.markdown import code, fenced, table
from models.runs.trained import TrainedRecommender

PACKAGE = "package:"  # prefix of an encoder in an installed package


def tower_sections(trained: TrainedRecommender, provenance: dict[str, Any]) -> list[str]:
    """The encoders of the items; no section for the ID baseline."""
    if not provenance:
        return []
    if trained.config.encodes_items and trained.config.item_kind.trains_encoders:
        return ["## Towers", *_trained_towers(trained, provenance["encode"])]
    head = ["tower", "source", "encoder", "revision", "kept states", "pooling", "width", "items"]
    rows = [
        [
            *map(code, (name, tower["source"], tower["encoder"], tower["revision"])),
            tower.get("kept", ""),
            tower["pooling"],
            str(trained.dataset.tower(name).width),
            ", ".join(f"{count:,} {status}" for status, count in tower.get("items", {}).items()),
        ]
        for name, tower in provenance["encode"].items()
    ]
    return [
        "## Towers",
        table(head, rows),
        "Kept states are numbered from 0, the output of the encoder's embedding layer. The states of an item without "
        "the source are zeros.",
    ]


def _trained_towers(trained: TrainedRecommender, towers: dict[str, Any]) -> list[str]:
    """A table of the encoders that the run trained, and of what trained in each."""
    head = ["tower", "source", "base encoder", "revision", "pooling", "method", "its settings"]
    chosen = trained.config.encoders
    rows = [
        [
            *map(code, (name, tower["source"], tower["encoder"], tower["revision"])),
            tower["pooling"],
            code(str(chosen[name].adapt)),
            ", ".join(
                f"{key} {value}" for key, value in (chosen[name].adapt_settings or {}).items()
            ),
        ]
        for name, tower in towers.items()
    ]
    return [
        table(head, rows),
        "The model reads the last state of each encoder, after its final norm if it has one. An item without the source "
        "has a learned state instead.",
    ]


def caption_sections(provenance: dict[str, Any]) -> list[str]:
    """The captioners and their prompts; no section if no tower reads captions."""
    captions = provenance.get("caption", {})
    if not captions:
        return []
    head = ["captions", "source", "model", "revision", "prompt", "hash of the prompt"]
    keys = ("source", "model", "revision", "prompt", "prompt_hash")
    rows = [
        [code(name), *(code(captioner[key]) if key in captioner else "" for key in keys)]
        for name, captioner in captions.items()
    ]
    prompts = [
        f"The prompt of {code(name)}:\n\n{fenced(captioner['prompt_text'], 'text')}"
        for name, captioner in captions.items()
        if captioner.get("prompt_text")
    ]
    return ["## Captions", table(head, rows), *prompts]


def usage_sections(trained: TrainedRecommender, provenance: dict[str, Any]) -> list[str]:
    """Example code that recommends, and the settings that encode other items."""
    example = ["## Use", fenced(_snippet(trained), "python")]
    if not trained.config.knows_new_items:
        return [
            *example,
            "`DATASET` must be the dataset above: the model has no vectors for other items.",
        ]
    if trained.config.item_kind.trains_encoders:
        return [
            *example,
            "`DATASET` may contain other items with the same kinds of content: the model runs its encoders itself. A base "
            "encoder that was loaded from a folder is named by the last part of its path; give its path with "
            '`models.from_pretrained("FOLDER", encoders={"TOWER": "PATH"})`.',
            *_notes(provenance),
        ]
    return [
        *example,
        "`DATASET` may contain other items, if their states have the same provenance. To create such a dataset, save "
        "these settings as `prep.yaml` and run `python -m prep build DUMP DATASET --config prep.yaml`:",
        fenced(yaml.safe_dump(recipe(provenance), sort_keys=False, allow_unicode=True), "yaml"),
        *_notes(provenance),
    ]


def _notes(provenance: dict[str, Any]) -> list[str]:
    """What a user of the settings has to supply: local folders and prompt files; and towers that they cannot encode."""
    encoders = [(tower["encoder"], tower["revision"]) for tower in provenance["encode"].values()]
    captioners = provenance["caption"].values()
    models = [(entry["model"], entry["revision"]) for entry in captioners if entry.get("revision")]
    folders = [name for name, revision in [*encoders, *models] if _is_folder(name, revision)]
    prompts = [
        entry["prompt"] for entry in captioners if "prompt" in entry and "@" not in entry["prompt"]
    ]
    imported = [name for name, tower in provenance["encode"].items() if is_imported(tower)]
    notes = {
        "Local folders that you must supply; the revisions above are their fingerprints": folders,
        "Prompt files that you must create with the prompts above": prompts,
        "Towers imported from a file, which these settings cannot encode for other items": imported,
    }
    return [
        f"{note}: {', '.join(map(code, dict.fromkeys(names)))}."
        for note, names in notes.items()
        if names
    ]


def _is_folder(name: str, revision: str) -> bool:
    return revision.startswith("sha256:") and not name.startswith(PACKAGE)


def _snippet(trained: TrainedRecommender) -> str:
    """Example code that recommends for a history of items from the catalogue."""
    towers = json.dumps(trained.config.content, ensure_ascii=False)
    tables = {
        "numbers": '{"id": torch.arange(data.items.num_rows + 1)}',
        **dict.fromkeys(("states", "pooled"), f"{{name: data.states(name) for name in {towers}}}"),
    }
    tables["sources"] = (
        "model.item_encoder.prepare({name: [None, *data.source(source).to_pylist()] "
        "for name, source in model.item_encoder.sources.items()})"
    )
    if isinstance(trained.model, GeneralRecommender):
        return _general_snippet(trained, tables)
    features = " | ".join(
        tables[name] for name in trained.config.item_kind.reads_of(trained.config.towers)
    )
    ids = _example_history(trained)
    times, argument = "", ""
    if trained.model.takes_times:
        times = "    times = torch.arange(len(seen)) * 86_400_000  # of each item, in milliseconds since 1970\n"
        argument = ", times[None]"
    return f"""import torch

import models
import toolkit

model = models.from_pretrained("FOLDER")  # this folder, or its name on the hub, with revision="COMMIT"
data = toolkit.open_dataset("DATASET")
history = {json.dumps(ids, ensure_ascii=False)}  # item ids of one user, the newest last
with torch.no_grad():
    items = model.encode_items({features})
    seen = torch.from_numpy(data.item_ids.numbers(history[-{trained.config.sequence.max_len}:])).long()
{times}    user = model.encode_users(seen[None], items{argument})
scores = (user @ items.T)[0]
scores[0] = -torch.inf  # padding
scores[seen] = -torch.inf
best = [data.item_ids.id(number) for number in scores.topk(5).indices.tolist()]"""


def _example_history(trained: TrainedRecommender) -> list[str]:
    """Item ids of the catalogue, as an example of a history."""
    return [trained.dataset.item_ids.id(int(number)) for number in trained.splits.known[:3]]


def _general_snippet(trained: TrainedRecommender, tables: dict[str, str]) -> str:
    """Example code for a general recommender."""
    config = trained.config
    vectors = "None"
    if config.encodes_items:
        reads = config.item_kind.reads_of(config.towers)
        vectors = f"model.encode_items({' | '.join(tables[name] for name in reads)})"
    rows, kind = "", config.general_kind
    if kind is not None and kind.needs_user:
        splits = f"data.splits(protocol={config.protocol!r}, max_len={config.sequence.max_len})"
        user = json.dumps(trained.splits.user_ids[0], ensure_ascii=False)
        rows = f", rows=torch.tensor([1 + {splits}.user_ids.index({user})])"
    return f"""import torch

import models
import toolkit

model = models.from_pretrained("FOLDER")  # this folder, or its name on the hub, with revision="COMMIT"
data = toolkit.open_dataset("DATASET")
history = {json.dumps(_example_history(trained), ensure_ascii=False)}  # item ids of one user, the newest last
with torch.no_grad():
    tables = model.tables({vectors})
    seen = torch.from_numpy(data.item_ids.numbers(history[-{config.sequence.max_len}:])).long()
    user = model.user_vectors(models.Users(seen[None]{rows}), tables)
    scores = model.scores(user, tables.items)[0]
scores[0] = -torch.inf  # padding
scores[seen] = -torch.inf
best = [data.item_ids.id(number) for number in scores.topk(5).indices.tolist()]"""
