"""Initial weights of another model: what moves, what begins fresh, and what is refused."""

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_cache import cache_as_downloaded
from public_iisan import public_weights
from tiny_dataset import walks, write_dataset, write_tower

from models.build import build, build_general
from models.config import RunConfig, parse_run_config
from models.recommender import Model
from models.runs.identity import differing_states
from models.runs.lineage import Lineage
from models.runs.pretrained import save_pretrained
from models.transfer.initial import InitialWeights
from toolkit import UserError, open_dataset
from toolkit.json_files import read_json

POOLED = ["--item=pooled", "--towers=[title, cover]", "--side.embedding_dim=16"]
SOURCE = 99  # seed of the weights of sources
HEADS = {"title": "item_encoder.heads.title", "cover": "item_encoder.heads.cover"}
PARTS = {
    **{name: (prefix,) for name, prefix in HEADS.items()},
    "fusion": ("item_encoder.fusion",),
    "sequence": ("sequence_encoder",),
    "items": ("item_encoder",),
    "sequence,cover": ("sequence_encoder", HEADS["cover"]),
    "all": ("item_encoder", "sequence_encoder"),
}


def write_platform(folder: Path, items: int, *, revision: str = "0") -> Path:
    """Other items and users, with the towers of the tiny dataset; `revision` is that of the title's encoder."""
    rng = np.random.default_rng(items)
    cover = {"cover": rng.normal(size=(items, 4, 24))}
    write_dataset(folder, walks(items=items, users=40), items=items, towers=cover)
    ids = [f"i{number}" for number in range(1, items + 1)]
    write_tower(folder, "title", ids, rng.normal(size=(items, 3, 16)), revision=revision)
    return folder


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_platform(tmp_path_factory.mktemp("target") / "data", 50)


@cache
def config_of(*words: str) -> RunConfig:
    return parse_run_config([*words])


def new(
    data: Path, *more: str, begin: Callable[[Model], None] | None = None, seed: int = 0
) -> Model:
    """A new model of a config."""
    config = config_of(*POOLED, f"--data={data}", "--output=unused", *more)
    dataset = open_dataset(data)
    torch.manual_seed(seed)
    if config.general_kind is None:
        return build(config, dataset, begin=begin)
    return build_general(config, dataset, dataset.splits(), begin=begin)


def saved(folder: Path, data: Path, *more: str) -> Path:
    save_pretrained(new(data, *more, seed=SOURCE), folder)
    return folder


@pytest.fixture(scope="module")
def source(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("source") / "model", dataset)


def moved(
    source: Path, data: Path, *more: str, parts: str = "all"
) -> tuple[Model, Lineage, set[str]]:
    """A model that begins with a source, its lineage, and the names of the tensors that are not those of a new model."""
    initial = InitialWeights(str(source), parts.split(","))
    model = new(data, *more, begin=initial)
    fresh = new(data, *more).state_dict()
    assert initial.lineage is not None
    changed = {name for name, x in model.state_dict().items() if not torch.equal(x, fresh[name])}
    return model, initial.lineage, changed


def refusal(source: Path, data: Path, *more: str, parts: str = "all") -> str:
    with pytest.raises(UserError) as error:
        moved(source, data, *more, parts=parts)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("parts", PARTS)
def test_exactly_the_parts_that_are_asked_for_move(
    dataset: Path, source: Path, target: Path, parts: str
) -> None:
    model, lineage, _ = moved(source, target, parts=parts)
    theirs, fresh, ours = (x.state_dict() for x in (new(dataset, seed=SOURCE), new(target), model))
    inside = {name for name in ours if name.startswith(PARTS[parts])}
    assert all(torch.equal(ours[name], theirs[name]) for name in inside)
    assert all(torch.equal(ours[name], fresh[name]) for name in ours.keys() - inside)
    taken = {name for shapes in lineage.taken.values() for name in shapes}
    begins = {name for shapes in lineage.fresh.values() for name in shapes}
    assert (taken, begins) == (inside, ours.keys() - inside)
    assert lineage.taken.get("title", {}).get("item_encoder.heads.title.first.weight") in (
        None,
        [16, 16],
    )
    assert not lineage.refused
    assert Lineage.of_record(lineage.record()) == lineage


def test_vectors_of_items_and_users_never_move(dataset: Path, tmp_path: Path) -> None:
    """Not even to a run on the same dataset, where all shapes are equal."""
    towers = "--towers=[id, title]"
    source = saved(tmp_path / "source", dataset, towers)
    _, lineage, changed = moved(source, dataset, towers)
    assert "item_encoder.heads.title.first.weight" in changed
    assert "item_encoder.vectors.table.weight" not in changed
    assert {*lineage.taken} == {"title", "fusion", "sequence"} and {*lineage.fresh} == {"id"}
    text = refusal(source, dataset, towers, parts="id")
    assert "vectors of items and users never move to another dataset" in text
    ids = saved(tmp_path / "ids", dataset, "--item=id", "--towers=[]")
    _, lineage, _ = moved(ids, dataset, "--item=id", "--towers=[]")
    assert {*lineage.taken} == {"sequence"} and {*lineage.fresh} == {"id"}
    dssm = ["--recommender.kind=dssm", "--recommender.layers=1", "--protocol=paper"]
    _, lineage, _ = moved(saved(tmp_path / "dssm", dataset, *dssm), dataset, *dssm)
    assert {*lineage.fresh["id"]} == {"general.users.weight"}
    assert {*lineage.taken} == {"title", "cover", "fusion", "recommender"}


def test_under_all_what_cannot_move_begins_fresh_and_is_said(source: Path, target: Path) -> None:
    _, lineage, changed = moved(source, target, "--sequence.max_len=5")
    assert {*lineage.refused} == {"sequence"} and "sequence" in lineage.fresh
    refused = lineage.refused["sequence"]
    assert refused.shapes == {"sequence_encoder.positions.weight": [[10, 16], [5, 16]]}
    assert "positions.weight is [10, 16] in the source, and [5, 16] here" in refused.reason
    assert not any(name.startswith("sequence_encoder") for name in changed)
    lines = [*lineage.lines()]
    assert (
        lines[-1].startswith("  refused, begins fresh: sequence: ") and "taken: title" in lines[1]
    )
    _, lineage, _ = moved(source, target, "--towers=[cover, title]")
    assert {*lineage.refused} == {"fusion"}  # its columns are in the order of the towers
    assert "towers is ['title', 'cover'] in the source" in lineage.refused["fusion"].reason


@pytest.mark.parametrize(
    ("more", "parts", "message"),
    [
        (["--sequence.max_len=5"], "sequence", r"asks for sequence, which cannot move: .*\[10, 16\]"),
        (["--sequence.heads=4"], "sequence", "heads is 2 in the source, and 4 here"),
        (["--sequence.kind=gru4rec"], "sequence", "it is SASRec in the source, and GRU4Rec here"),
        (["--items.activation=none"], "cover", "activation is its default in the source, and 'none'"),
        (["--towers=[title]"], "fusion", "names 'fusion'; the parts of this run are all, items, "),
        ([], "titel", "names 'titel'; the parts of this run are all, items, sequence, title"),
        (["--side.embedding_dim=32"], "all", "nothing of it can move into this run .title: embed"),
    ],
)  # fmt: skip
def test_what_is_asked_for_by_name_moves_or_is_an_error(
    source: Path, target: Path, more: list[str], parts: str, message: str
) -> None:
    text = refusal(source, target, *more, parts=parts)
    assert text.startswith(f"init_from {source}: ") and re.search(message, text), text


def test_towers_move_only_where_the_same_encoder_made_their_states(
    source: Path, dataset: Path, tmp_path: Path
) -> None:
    other = write_platform(tmp_path / "data", 50, revision="1")
    _, lineage, _ = moved(source, other)
    assert {*lineage.refused} == {"title"}
    reason = "trained on states with tower title revision '0', and this dataset has '1'"
    assert reason in lineage.refused["title"].reason
    assert reason in refusal(source, other, parts="title")
    unknown = new(dataset)
    unknown.made_with = {}
    save_pretrained(unknown, tmp_path / "old")
    assert "does not record how the states of tower 'title'" in refusal(
        tmp_path / "old", dataset, parts="title"
    )
    # Two towers mix in a side network, so both must be the same.
    side = ["--item=side-network", "--side.bottleneck=4"]
    _, lineage, _ = moved(saved(tmp_path / "side", dataset, *side), other, *side)
    assert {*lineage.refused} == {"title", "inter"}
    assert {*lineage.taken} == {"cover", "fusion", "sequence"}


def test_pictures_of_one_tower_do_not_concern_another() -> None:
    def made(**more: object) -> dict[str, object]:
        towers = {"title": {"source": "title"}, "cover": {"source": "cover"}}
        towers = {name: {"encoder": "e", **one} for name, one in towers.items()}
        return {
            "encode": towers,
            "caption": {},
            "media": {"cover_px": 256, "frame_count": 5, **more},
        }

    assert differing_states(made(), made(frame_count=6), tower="cover") is None
    assert differing_states(made(), made(cover_px=128), tower="title") is None
    found = differing_states(made(), made(cover_px=128), tower="cover")
    assert found == ("media cover_px", 256, 128)
    assert differing_states(made(), made(frame_count=6)) is not None


def test_a_source_is_found_by_what_it_is(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_as_downloaded(source, "somebody/model", tmp_path / "hub", monkeypatch)
    _, lineage, _ = moved(Path("somebody/model"), target)
    assert lineage.source == "somebody/model"
    assert [lineage.weights_sha256] == read_json(source / "config.json")["weights_sha256"]
    text = refusal(Path("somebody/else"), target)
    assert (
        "init_from somebody/else: 'somebody/else' is not a local folder, and its download" in text
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    assert "the run has no model" in refusal(tmp_path / "run", target)
    shutil.copytree(source, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"nothing")
    assert "damaged/model.safetensors: not a readable file" in refusal(tmp_path / "damaged", target)
    assert "text.pt: no such file" in refusal(tmp_path / "text.pt", target)


def test_the_parts_of_a_public_checkpoint_move_alone(dataset: Path, tmp_path: Path) -> None:
    torch.save(public_weights((3, 16), (4, 24)), tmp_path / "public.pt")
    side = ["--item=side-network", "--side.bottlenecks={title: 5, cover: 7}"]
    _, lineage, changed = moved(tmp_path / "public.pt", dataset, *side, parts="sequence")
    assert {*lineage.taken} == {"sequence"} and lineage.lineage is None
    assert changed == {*lineage.taken["sequence"]}
    _, lineage, _ = moved(tmp_path / "public.pt", dataset, *side)
    assert {*lineage.taken} == {"title", "cover", "inter", "fusion", "sequence"}
    assert not lineage.fresh and not lineage.refused


def test_general_recommenders_begin_with_item_encoders(
    source: Path, target: Path, tmp_path: Path
) -> None:
    network = ["--recommender.kind=youtubednn", "--protocol=paper"]
    _, lineage, _ = moved(source, target, *network)
    assert {*lineage.taken} == {"title", "cover", "fusion"}
    assert {*lineage.refused} == {"recommender"}
    for kind in ("ease", "lightgcn"):
        with pytest.raises(UserError, match="weights but those of the items and users of one"):
            parse_run_config(
                [f"--recommender.kind={kind}", "--data=x", "--output=y", "--init_from=z"]
            )
