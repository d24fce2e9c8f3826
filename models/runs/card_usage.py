"""What a model's card says to whoever has only the model: where its towers and captions came from, and its use."""

import json
from typing import Any

import yaml

from models.inputs.provenance import is_imported, recipe
from models.runs.markdown import code, fenced, table
from models.runs.trained import TrainedRecommender

PACKAGE = "package:"  # so begins an encoder that lies in an installed package


def tower_sections(trained: TrainedRecommender, made_with: dict[str, Any]) -> list[str]:
    """What encoded the items; nothing for the ID baseline."""
    if not made_with:
        return []
    trains = trained.config.item_kind.trains_encoders
    zeros = "a learned state" if trains else "zeros"
    head = ["tower", "source", "encoder", "revision", "kept states", "pooling", "width", "items"]
    rows = [
        [
            *map(code, (name, one["source"], one["encoder"], one["revision"])),
            one.get("kept", "the last"),
            one["pooling"],
            "" if trains else str(trained.dataset.tower(name).width),
            ", ".join(f"{count:,} {status}" for status, count in one.get("items", {}).items()),
        ]
        for name, one in made_with["encode"].items()
    ]
    return [
        "## Towers",
        table(head, rows),
        f"Kept states count from 0, the encoder's embeddings. An item without the source has {zeros} in their place.",
    ]


def caption_sections(made_with: dict[str, Any]) -> list[str]:
    """Where captions came from, prompts included; nothing where no tower reads any."""
    made = made_with.get("caption", {})
    if not made:
        return []
    head = ["captions", "of", "model", "revision", "prompt", "hash of the prompt"]
    keys = ("source", "model", "revision", "prompt", "prompt_hash")
    rows = [
        [code(name), *(code(one[key]) if key in one else "" for key in keys)]
        for name, one in made.items()
    ]
    prompts = [
        f"The prompt of {code(name)}:\n\n{fenced(one['prompt_text'], 'text')}"
        for name, one in made.items()
        if one.get("prompt_text")
    ]
    return ["## Captions", table(head, rows), *prompts]


def usage_sections(trained: TrainedRecommender, made_with: dict[str, Any]) -> list[str]:
    """Python that recommends, and the settings that make states of other items."""
    words = ["## Use", fenced(_snippet(trained), "python")]
    if not trained.config.knows_new_items:
        return [*words, "`DATASET` is the one named above: the model knows no other items."]
    if trained.config.item_kind.trains_encoders:
        return [
            *words,
            "`DATASET` may hold other items than those above, with the same kinds of content: the model runs its "
            "encoders itself. A base encoder that lies in a folder is named by the last part of its path: say where it "
            'lies with `models.from_pretrained("FOLDER", encoders={"TOWER": "PATH"})`.',
            *_notes(made_with),
        ]
    return [
        *words,
        "`DATASET` may hold other items than those above, if their states were made in the same way. "
        "`python -m prep build DUMP DATASET --config prep.yaml` makes them so, with this in `prep.yaml`:",
        fenced(yaml.safe_dump(recipe(made_with), sort_keys=False, allow_unicode=True), "yaml"),
        *_notes(made_with),
    ]


def _notes(made_with: dict[str, Any]) -> list[str]:
    """What whoever is elsewhere has to find first."""
    encoders = [(one["encoder"], one["revision"]) for one in made_with["encode"].values()]
    captions = made_with["caption"].values()
    models = [(one["model"], one["revision"]) for one in captions if one.get("revision")]
    folders = [name for name, revision in [*encoders, *models] if _is_folder(name, revision)]
    prompts = [one["prompt"] for one in captions if "prompt" in one and "@" not in one["prompt"]]
    ready = [name for name, tower in made_with["encode"].items() if is_imported(tower)]
    notes = {
        "Local folders, to be found by their fingerprints, which stand above as revisions": folders,
        "Files to be written, with the prompts above in them": prompts,
        "Towers whose states came ready from a file, so that no setting makes those of other items": ready,
    }
    return [
        f"{words}: {', '.join(map(code, dict.fromkeys(names)))}."
        for words, names in notes.items()
        if names
    ]


def _is_folder(name: str, revision: str) -> bool:
    return revision.startswith("sha256:") and not name.startswith(PACKAGE)


def _snippet(trained: TrainedRecommender) -> str:
    """Python that recommends; its history is of items that the model knows."""
    towers = json.dumps(trained.config.content, ensure_ascii=False)
    tables = {
        "numbers": '{"id": torch.arange(data.items.num_rows + 1)}',
        **dict.fromkeys(("states", "pooled"), f"{{name: data.states(name) for name in {towers}}}"),
    }
    tables["sources"] = (
        "model.item_encoder.prepare({name: [None, *data.source(source).to_pylist()] "
        "for name, source in model.item_encoder.sources.items()})"
    )
    features = " | ".join(
        tables[what] for what in trained.config.item_kind.reads_of(trained.config.towers)
    )
    ids = [trained.dataset.item_ids.id(int(number)) for number in trained.splits.catalogue[:3]]
    return f"""import torch

import models
import toolkit

model = models.from_pretrained("FOLDER")  # this folder, or its name on the hub, with revision="COMMIT"
data = toolkit.open_dataset("DATASET")
history = {json.dumps(ids, ensure_ascii=False)}  # what somebody took, the newest last
with torch.no_grad():
    items = model.encode_items({features})
    taken = torch.from_numpy(data.item_ids.numbers(history[-{trained.config.sequence.max_len}:])).long()
    user = model.encode_users(taken[None], items)
scores = (user @ items.T)[0]
scores[0] = -torch.inf  # padding
scores[taken] = -torch.inf
best = [data.item_ids.id(number) for number in scores.topk(5).indices.tolist()]"""
