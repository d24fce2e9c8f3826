"""Damaged, incomplete or foreign files of a run: the error is one line that names the file."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_dataset import ITEMS, walks, write_dataset

import models
from models.compare import compare
from models.config import load_run_config, parse_run_config
from models.efficiency import efficiency
from models.evaluate import evaluate
from models.export import export_items
from models.recommend import recommend
from models.report import report
from models.runs.pretrained import push_to_hub
from models.train import train
from toolkit import UserError, schema
from toolkit.json_files import read_json, write_json
from toolkit.store import write_table

Ask = Callable[[Path], Any]
READS_MODEL: dict[str, Ask] = {
    "evaluate": lambda run: evaluate(run, progress=False),
    "recommend": lambda run: recommend(run, k=1),
    "export": lambda run: export_items(run, run.parent / "items.npy"),
    "report": lambda run: report([run], output=run.parent / "page.html", progress=False),
}
READS_SETTINGS = {**READS_MODEL, "efficiency": lambda run: efficiency([run], epochs=1, warmup=0)}
READS_RESULTS: dict[str, Ask] = {
    "compare": lambda run: compare([run]),
    "report": READS_MODEL["report"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    states = {"title": np.random.default_rng(0).normal(size=(ITEMS, 2, 8))}
    data = write_dataset(folder / "data", walks(users=20), items=ITEMS, towers=states)
    words = ["--config=text-only", f"--data={data}", "--train.epochs=1", "--train.trackers=[]"]
    run = folder / "run"
    train(parse_run_config([*words, f"--output={run}", "--side.embedding_dim=8"]))
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def refused(asks: dict[str, Ask], run: Path, message: str) -> None:
    for ask in asks.values():
        with pytest.raises(UserError, match=message) as found:
            ask(run)
        assert "\n" not in str(found.value)


def edited(run: Path, file: str, change: Callable[[Any], Any]) -> None:
    value = read_json(run / file)
    write_json(run / file, change(value) or value)


CONFIGS: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "empty": (lambda _: "", "empty; expected the settings of a run"),
    "a list": (lambda _: "- data\n", "expected keys and values, found list"),
    "another key": (lambda text: text + "evil: 1\n", "unknown key 'evil'"),
    "another type": (lambda text: text.replace("epochs: 1", "epochs: lots"), r"train\.epochs"),
    "out of range": (lambda text: text.replace("epochs: 1", "epochs: -1"), r"train\.epochs is -1"),
    "python": (lambda text: text + "x: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    "not UTF-8": (lambda _: b"\xff\xfe\x00", "not valid YAML"),
    "aliases": (lambda _: "\n".join(["a: &a [1,1,1,1,1,1,1,1,1,1]", *(f"{n}: &{n} [{','.join([f'*{before}'] * 10)}]" for before, n in zip("abcdef", "bcdefg", strict=True))]), "aliases expand to"),
    "newer": (lambda text: text.replace("format: 1", "format: 2"), "format 2, .* a newer Versa"),
    "code": (lambda text: text.replace("side:\n", "side:\n  class_path: os.system\n"), "unknown key 'side.class_path'"),
    "a key twice": (lambda text: text + "side: {}\n", "repeats the key 'side'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_config_yaml(run: Path, case: str) -> None:
    change, message = CONFIGS[case]
    found = change((run / "config.yaml").read_text())
    (run / "config.yaml").write_bytes(found if isinstance(found, bytes) else found.encode())
    refused(READS_SETTINGS, run, rf"config\.yaml(:\d+)?: .*({message})")


def part(name: str, key: str, value: Any) -> Callable[[dict], None]:
    return lambda config: config[name].update({key: value})


MODEL_CONFIGS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "a list": (lambda _: [1], "expected a JSON object"),
    "another setting": (part("item_encoder", "evil", 1), "unexpected keyword argument 'evil'"),
    "no sequence encoder": (lambda c: c.pop("sequence_encoder") and None, "sequence_encoder is None"),
    "no encoder but text": (lambda c: c.update(item_encoder="x"), "item_encoder is 'x'"),
    "another kind": (part("item_encoder", "kind", ["id"]), r"model kind \['id'\] is unknown"),
    "bottleneck": (part("item_encoder", "bottleneck", -1), "bottleneck is -1"),
    "text for a number": (part("sequence_encoder", "heads", "2"), "not the settings of a sasrec"),
    "no heads": (part("sequence_encoder", "heads", 0), "not the settings of a sasrec"),
    "large": (part("sequence_encoder", "max_len", 10**12), "max_len is 1000000000000"),
    "deep": (part("sequence_encoder", "blocks", 10**6), "blocks is 1000000"),
    "no towers": (part("item_encoder", "towers", []), "not the settings of a side-network"),
    "towers of numbers": (part("item_encoder", "towers", [1]), "not the settings of a side-netw"),
    "another modality": (part("item_encoder", "activation", "tanh"), "activation 'tanh' is unknown"),
    "two numbers": (part("sequence_encoder", "embedding_dim", 16), "weights do not fit"),
    "newer": (lambda c: c.update(format=99), "format 99, .* a newer Versa"),
    "made with": (lambda c: c.update(made_with=[1]), "made_with is "),
    "no digest": (lambda c: c.pop("weights_sha256") and None, "changed since it was saved"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODEL_CONFIGS)
def test_the_models_config(run: Path, case: str) -> None:
    change, message = MODEL_CONFIGS[case]
    edited(run, "model/config.json", change)
    refused(READS_MODEL, run, message)
    with pytest.raises(UserError, match=message):
        push_to_hub(run / "model", "owner/name")


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        found = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(found)
        save_file(found, path)

    return apply


def one_nan(found: dict[str, torch.Tensor]) -> None:
    next(iter(found.values())).view(-1)[0] = torch.nan


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable file of weights"),
    "text": (lambda path: path.write_text("weights"), "not a readable file of weights"),
    "a header of 2^63 bytes": (lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"), "not a readable file of weights"),
    "cut off": (cut_off, "not a readable file of weights"),
    "absent": (lambda path: path.unlink(), "it has no model.safetensors"),
    "one bit": (flip, "changed since it was saved"),
    "not a number": (tensors(one_nan), "not finite"),
    "one tensor less": (tensors(lambda found: found.popitem() and None), "do not fit"),
    "one tensor more": (tensors(lambda found: found.update(evil=torch.ones(1))), "do not fit.*evil is"),
    "transposed": (tensors(lambda f: f.update({n: t[None] for n, t in f.items()})), "do not fit"),
    "float64": (tensors(lambda f: f.update({n: t.double() for n, t in f.items()})), "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(run: Path, case: str) -> None:
    change, message = WEIGHTS[case]
    change(run / "model" / "model.safetensors")
    refused(READS_MODEL, run, message)
    with pytest.raises(UserError, match=message):
        push_to_hub(run / "model", "owner/name")


def test_a_model_saved_again_and_stopped_in_between_is_read(run: Path) -> None:
    """Config first, with both digests; the new weights never came."""
    edited(run, "model/config.json", lambda c: c["weights_sha256"].insert(0, "0" * 64))
    models.load(run)
    model = models.from_pretrained(run / "model")
    models.save_pretrained(model, run / "model")
    assert len(read_json(run / "model" / "config.json")["weights_sha256"]) == 1
    models.load(run)


def test_models_and_settings_of_versas_before_this_are_opened(run: Path) -> None:
    right = recommend(run, k=2)
    text = (run / "config.yaml").read_text().replace("format: 1\n", "")
    (run / "config.yaml").write_text(text)
    for change in (lambda c: c.update(format=1), lambda c: c.pop("format") and None):
        edited(run, "model/config.json", lambda c: (c.pop("weights_sha256", None), change(c))[1])  # noqa: B023
        assert recommend(run, k=2).equals(right)


def test_a_model_of_another_run_does_not_stand_in(run: Path, tmp_path: Path) -> None:
    data = load_run_config(run / "config.yaml").data
    other = tmp_path / "other"
    words = ["--config=id", f"--data={data}", f"--output={other}", "--train.epochs=1"]
    train(parse_run_config([*words, "--train.trackers=[]", "--side.embedding_dim=8"]))
    shutil.rmtree(run / "model")
    shutil.copytree(other / "model", run / "model")
    refused(READS_MODEL, run, r"the model reads 60 items .*config reads towers .*of the same run")


ENVIRONMENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a list": (lambda _: [1], "expected a JSON object"),
    "no dataset": (lambda found: found.pop("dataset") and None, "dataset is None"),
    "a dataset of text": (lambda found: found.update(dataset="x"), "dataset is 'x'"),
    "versions": (lambda found: found.update(versions=["1"]), "versions is "),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_environment_json(run: Path, case: str) -> None:
    change, message = ENVIRONMENTS[case]
    edited(run, "environment.json", change)
    refused({**READS_SETTINGS, **READS_RESULTS}, run, message)


def set_metric(name: str, value: Any) -> Callable[[dict], None]:
    return lambda found: found["metrics"].update({name: value})


REPORTS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "a list": (lambda _: [1], "expected a JSON object"),
    "no users": (lambda found: found.pop("users") and None, "users is None"),
    "users of text": (lambda found: found.update(users="20"), "users is '20'"),
    "no metrics": (lambda found: found.update(metrics=[]), "metrics is "),
    "one metric less": (
        lambda found: found["metrics"].pop("HR@10") and None,
        "metric HR@10 is missing or invalid",
    ),
    "a value of text": (
        set_metric("HR@10", {"value": "1", "low": 0, "high": 1}),
        "metric HR@10 is missing or invalid",
    ),
    "a value above 1": (
        set_metric("NDCG@10", {"value": 7, "low": 0, "high": 1}),
        "metric NDCG@10 is missing or invalid",
    ),
    "another protocol, without its value": (
        lambda found: found.pop("protocol_settings") and found.update(protocol="fair"),
        "protocol 'fair' is unknown",
    ),
    "settings of text": (
        lambda found: found.update(protocol_settings="x"),
        "protocol_settings is 'x'",
    ),
    "settings of nothing": (
        lambda found: found.update(protocol="own", protocol_settings={"mask": "all"}),
        "mask is 'all'",
    ),
    "a slice of nothing": (
        lambda found: found.update(slices={"warm": {}}),
        r"slices\.warm\.about is None",
    ),
    "other users": (
        lambda found: found.update(users=7),
        "ranks of 20 users, but .* states 7 users",
    ),
}


@pytest.mark.parametrize("case", REPORTS)
def test_metrics(run: Path, case: str) -> None:
    change, message = REPORTS[case]
    edited(run, "metrics/test.json", change)
    refused(READS_RESULTS, run, rf"test\.(json|arrow): .*{message}")


def columns(**changed: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        table = pa.ipc.open_file(path).read_all()
        for name, values in changed.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, pa.array(values * table.num_rows))
        write_table(path, table, compression="zstd")

    return apply


RANKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable Arrow file"),
    "text": (lambda path: path.write_text("ranks"), "not a readable Arrow file"),
    "whole ranks": (columns(rank=[1]), "'rank' has type int64"),
    "a rank of 0": (columns(rank=[0.0]), "expected one rank per user, counted from 1"),
    "no number": (columns(rank=[float("nan")]), "expected one rank per user, counted from 1"),
    "no rows": (lambda path: write_table(path, schema.RANKS.empty_table(), compression="zstd"), "expected one rank per user, counted from 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", RANKS)
def test_ranks(run: Path, case: str) -> None:
    change, message = RANKS[case]
    change(run / "ranks" / "test.arrow")
    refused(READS_RESULTS, run, rf"test\.arrow: .*{message}")


LINES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello\n", "line 1 is no JSON"),
    "a list": (b"[1]\n", "line 1 is no JSON object"),
    "not UTF-8": (b"\xff\xfe\n", "UTF-8"),
    "deep": (b"[" * 100_000 + b"\n", "line 1 is no JSON"),
    "text for a number": (
        b'{"step": 1, "epoch": 1, "loss": "x"}\n',
        "entry 1 has missing keys or values",
    ),
    "no epoch": (b'{"valid": {"HR@10": 1, "NDCG@10": 1}}\n', "entry 1 has missing keys or values"),
    "no metric": (b'{"step": 1, "epoch": 1, "valid": {}}\n', "entry 1 has missing keys or values"),
}


@pytest.mark.parametrize("case", LINES)
def test_the_log(run: Path, case: str) -> None:
    line, message = LINES[case]
    log = run / "log.jsonl"
    log.write_bytes(line + log.read_bytes())
    asks = {name: READS_MODEL[name] for name in ("evaluate", "report")}
    refused(asks, run, rf"log\.jsonl: .*{message}")


def test_a_log_that_ends_in_half_a_line_is_read(run: Path) -> None:
    with (run / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "ep')
    for name in ("evaluate", "report"):
        READS_MODEL[name](run)


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "secret"
    path.write_text("token")
    yield path


def test_what_a_link_names_is_not_uploaded(run: Path, secret: Path) -> None:
    (run / "model" / "README.md").unlink()
    (run / "model" / "README.md").symlink_to(secret)
    with pytest.raises(UserError, match=r"README\.md: a link to a file outside the folder"):
        push_to_hub(run / "model", "owner/name")


def test_who_follows_a_run_is_for_whoever_starts_it_to_say(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("trackers: []", "trackers: [wandb]"))
    words = ["--config", str(config), "--resume"]
    with pytest.raises(UserError, match=r"train\.trackers is \['wandb'\].*type --train\.trackers"):
        parse_run_config(words)
    assert parse_run_config([*words, "--train.trackers=[]"]).train.trackers == []
    assert parse_run_config([*words, "--train.trackers=[wandb]"]).train.trackers == ["wandb"]
    text = config.read_text().replace("format: 1\n", "")  # an older Versa's
    config.write_text(text)
    with pytest.raises(UserError, match=r"train\.trackers is"):
        parse_run_config(words)


def test_a_split_is_no_path(run: Path) -> None:
    message = r"split '\.\./\.\./x' is unknown"
    with pytest.raises(UserError, match=message):
        evaluate(run, split="../../x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        models.load(run).splits.evaluation("../../x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="protocol 'x' is unknown"):
        evaluate(run, protocol="x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="split 'x' is unknown"):
        compare([run], split="x")  # type: ignore[arg-type]
    assert json.loads((run / "metrics" / "test.json").read_text())["users"] == 20
