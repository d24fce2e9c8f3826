"""The plan of a study: what is refused, and what its hash covers."""

from pathlib import Path
from typing import Any

import pytest
from small_study import write_plan

from models.study.reading import read_plan
from toolkit import UserError


def plan_of(folder: Path, content: dict[str, Any]) -> Any:
    return read_plan(write_plan(folder, content))


def test_the_hash_does_not_depend_on_the_order_of_keys_and_covers_all_else(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small = {**small, "methods": {"id": small["methods"]["id"], "ease": {"config": ["ease"]}}}
    first = plan_of(tmp_path, small).digest()
    turned = {key: small[key] for key in reversed(small)}
    own = small["methods"]["id"]
    turned["methods"] = {**small["methods"], "id": {key: own[key] for key in reversed(own)}}
    assert plan_of(tmp_path, turned).digest() == first
    dotted = {**own, "settings": {"side": {"embedding_dim": 16}, "train.batch_size": 64}}
    nested = {**small, "methods": {**small["methods"], "id": dotted}}
    assert plan_of(tmp_path, nested).digest() == first
    moved = {**small, "datasets": {"walks": "elsewhere"}}
    assert plan_of(tmp_path, moved).digest() == first  # identity is content, not a path
    for change in ({"trials": 3}, {"seeds": [1, 3]}, {"metric": "HR@10"}, {"protocols": ["clean"]}):
        assert plan_of(tmp_path, {**small, **change}).digest() != first
    baseline = {name: small["methods"][name] for name in reversed(small["methods"])}
    assert plan_of(tmp_path, {**small, "methods": baseline}).digest() != first


def test_the_hash_covers_the_content_of_files(small: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    methods = {"id": {"config": ["id", str(own)]}}
    own.write_text("train: {batch_size: 32}\n")
    first = plan_of(tmp_path, {**small, "methods": methods}).digest()
    own.write_text("train: {batch_size: 64}\n")
    assert plan_of(tmp_path, {**small, "methods": methods}).digest() != first


METHOD = {
    "epochs": ({"settings": {"train.epochs": 9}}, r"methods\.id: train\.epochs: the study sets"),
    "nested": ({"settings": {"train": {"patience": 3}}}, r"train\.patience: the study sets"),
    "searched": ({"search": {"train.seed": [1, 2]}}, r"train\.seed: the study sets train\.seed"),
    "protocol": ({"settings": {"protocol": "clean"}}, "protocol: the study sets protocol"),
    "unknown": ({"settings": {"train.bach_size": 9}}, r"methods\.id: .*bach_size"),
    "value": ({"search": {"train.loss": ["full", "ful"]}}, r"methods\.id with .*train\.loss"),
    "empty": ({"search": {"train.loss": []}}, r"search\.train\.loss: expected a list of choices"),
    "range": ({"search": {"sequence.dropout": {"low": 1, "high": 0}}}, "low must be below high"),
    "log": (
        {"search": {"sequence.dropout": {"low": 0, "high": 1, "log": True}}},
        "above 0 on a logarithmic scale",
    ),
    "text for true": (
        {"search": {"sequence.dropout": {"low": 0.1, "high": 1, "log": "no"}}},
        "log is 'no'; expected true or false",
    ),
    "both": (
        {"settings": {"train.loss": "full"}, "search": {"train.loss": ["full", "sampled"]}},
        "both in settings and in search",
    ),
    "preset": ({"config": ["no-such"]}, "config no-such: neither a file nor a preset"),
    "key": ({"serch": {}}, r"unknown key 'methods\.id\.serch'"),
}


@pytest.mark.parametrize("case", METHOD)
def test_a_method_that_would_not_run_or_would_spend_more_is_refused(
    small: dict[str, Any], tmp_path: Path, case: str
) -> None:
    method, message = METHOD[case]
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, {**small, "methods": {"id": {"config": ["id"], **method}}})


PLAN = {
    "unknown key": ({"trails": 3}, r"unknown key 'trails'; did you mean trials"),
    "type": ({"trials": "many"}, "trials"),
    "negative seed": ({"seeds": [1, -1]}, "seeds: a seed is -1; it must be from 0"),
    "no trial": ({"trials": 0}, "trials is 0; it must be at least 1"),
    "metric": ({"metric": "AUC"}, "metric AUC: unknown; known: HR@5"),
    "protocol": ({"protocols": ["papr"]}, "protocols: protocol 'papr' is unknown"),
    "twice": ({"seeds": [1, 1]}, "seeds: name at least one, each once"),
    "name": ({"datasets": {"../x": "data"}}, "the name becomes that of a folder"),
    "methods": ({"methods": {}}, "methods: name at least one"),
}


@pytest.mark.parametrize("case", PLAN)
def test_a_plan_that_makes_no_sense_is_refused(
    small: dict[str, Any], tmp_path: Path, case: str
) -> None:
    changes, message = PLAN[case]
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, {**small, **changes})


def test_protocols_of_one_split_share_models(small: dict[str, Any], tmp_path: Path) -> None:
    early = {"name": "early", "split": {"kind": "time", "test_share": 0.3}}
    names = ["paper", "time", "cold", "time-random", early]
    splits = plan_of(tmp_path, {**small, "protocols": names}).splits()
    assert {name: [p.name for p in protocols] for name, protocols in splits.items()} == {
        "leave-one-out": ["paper", "cold"],
        "time": ["time", "time-random"],
        "time-2": ["early"],
    }


def test_a_name_that_is_no_study_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"nowhere: neither a file nor a study .*; studies: .*\bdemo\b"
    ):
        read_plan("nowhere")
