"""Runs every command and block of README.md and docs/, each page in its own folder.

For blocks that cannot run here (several GPUs, a cluster, an installation), a comment in the page states the reason, and the
options are parsed. `SMALLER` shortens only what would take long.
"""

import shutil
import sys
import tomllib
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from documents import LANGUAGES, PAGES, ROOT, Block, blocks, command_lines, inline_commands
from hub_cache import cache_as_downloaded
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

import models.cli
import models.facial.cli
import prep.cli
import prep.synth
from models.adaptation import ADAPTATIONS
from models.commands import COMMANDS as MODELS
from models.config import parse_run_config, presets
from models.facial.commands import COMMANDS as FACES
from models.facial.config import parse_face_config
from models.fusion import FUSIONS
from models.general import GENERAL
from models.items import ITEMS
from models.losses import LOSSES, OBJECTIVES
from models.sequence import SEQUENCES
from models.study import read_plan
from models.train import train
from prep.cli import COMMANDS as PREP
from toolkit.own_protocols import as_protocol

MAINS = {"prep": "prep.cli", "models": "models.cli", "models.facial": "models.facial.cli"}
SMALLER = {  # options added to what a page says, by the words that it begins with
    ("prep", "synth"): ["--items", "24", "--users", "60"],
    ("prep", "synth-faces"): ["--size_px", "48"],
    ("prep", "faces"): ["--workers", "1"],
    ("prep", "build"): ["--media.workers", "1"],
    ("prep", "media"): ["--media.workers", "1"],
    ("models", "efficiency"): ["--warmup", "0"],
    ("models.train",): ["--train.epochs", "1"],
    ("models.facial.train",): ["--train.epochs", "1"],
    ("models.scaling",): ["--train.epochs", "1"],
}
# Of those that write nothing and take seconds, the first is run and the others are parsed.
ONCE = {"estimate"}
SCENARIOS = ("id", "text-only", "image-caption", "video-caption", "raw-image")
RUNNABLE = [page for page in PAGES if any(block.language != "text" for block in blocks(page))]
LAYERS, WIDTH = 12, 16  # of encoders that stand for BERT-base and ViT-base
HUB = {
    "bert-base-uncased": "bert",
    "sentence-transformers/all-MiniLM-L6-v2": "bert",
    "google/vit-base-patch16-224": "vit",
    "Qwen/Qwen3-VL-8B-Instruct": "vlm",
}


REGISTRIES = (ADAPTATIONS, FUSIONS, GENERAL, ITEMS, LOSSES, OBJECTIVES, SEQUENCES)
_done: set[str] = set()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module", autouse=True)
def hub(tmp_path_factory):
    """The hub as it is after the downloads: under the names that the pages use, small models."""
    folder = tmp_path_factory.mktemp("hub")
    size = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": WIDTH,
    }
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"##{letter}" for letter in words[5:]]
    BertTokenizer(vocab={word: row for row, word in enumerate(words)}).save_pretrained(
        folder / "bert"
    )
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder / "bert")
    pixels = ViTConfig(image_size=32, patch_size=16, **size)
    ViTModel(pixels, add_pooling_layer=False).save_pretrained(folder / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "vit")
    shutil.copytree(Path(prep.synth.__file__).parent / "tiny_vlm", folder / "vlm")
    with pytest.MonkeyPatch.context() as patch:
        for name, made in HUB.items():
            cache_as_downloaded(folder / made, name, folder / "cache", patch)
        yield


@pytest.fixture(autouse=True)
def own_kinds_stay_on_their_page():
    """What a page registers is gone for the tests that follow in this process."""
    before = [(registry, dict(registry)) for registry in REGISTRIES]
    yield
    for registry, kinds in before:
        registry.clear()
        registry.update(kinds)


@pytest.fixture(scope="module")
def ready(synth_dump, tmp_path_factory) -> Path:
    """What `make demo` leaves, in small: demo/dump, demo/dataset, demo/runs."""
    folder = tmp_path_factory.mktemp("ready")
    demo = folder / "demo"
    shutil.copytree(synth_dump, demo / "dump")
    prep.cli.main(["build", str(demo / "dump"), str(demo / "dataset"), "--media.workers", "1"])
    for name in SCENARIOS:
        words = ["--config", name, "--data", str(demo / "dataset"), "--train.epochs", "1"]
        train(parse_run_config([*words, "--output", str(demo / "runs" / name)]))
    return folder


@pytest.fixture
def place(request, ready, tmp_path, monkeypatch) -> Path:
    """A folder with whatever a page names and does not make itself."""
    made = {
        word
        for block in blocks(request.param)
        if block.language == "bash" and block.mark != "not run"
        for words in command_lines(block.text)
        for word in made_by(words)
    }
    dump, runs = ready / "demo" / "dump", ready / "demo" / "runs"
    known = {"DATASET": ready / "demo" / "dataset", "RUN": runs / "text-only"}
    known |= {"demo": ready / "demo"} if "demo/dump" not in made else {}
    for name, source in known.items():
        if name not in made:
            shutil.copytree(source, tmp_path / name)
    shutil.copytree(dump, tmp_path / "DUMP", ignore=shutil.ignore_patterns("prep.yaml"))
    (tmp_path / "benchmarks").mkdir()  # of the repository's own files, pages name this one
    shutil.copy(ROOT / "benchmarks" / "demo.yaml", tmp_path / "benchmarks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return tmp_path


def made_by(words: list[str]) -> list[str]:
    """Folders that a command writes."""
    if words[3:4] == ["synth"]:
        return words[4:5]
    if words[3:4] in (["build"], ["ingest"]):
        return words[5:6]
    return words[words.index("--output") + 1 :][:1] if "models.train" in words else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "page"), [(page, page) for page in RUNNABLE], ids=name_of, indirect=["place"]
)
def test_what_a_page_says_runs(place: Path, page: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page):
        try:
            if block.mark == "file":
                path = place / block.says
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text + "\n", encoding="utf-8")
            elif block.language == "python":
                exec(compile(block.text, block.place, "exec"), names)
            elif block.language == "bash":
                for words in command_lines(block.text):
                    check(words) if block.mark == "not run" else run(words)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{block.place}: {type(error).__name__}: {error}\n{block.text}")


def run(words: list[str]) -> None:
    """Runs a command in this process, as `python` or `accelerate launch` would in another."""
    module, arguments, environment = understood(words)
    if set(arguments[:1]) & ONCE and arguments[0] in _done:
        parse(module, arguments)
        return
    _done.add(arguments[0])
    smaller = next(
        (more for first, more in SMALLER.items() if begins(module, arguments, first)), []
    )
    main = import_module(MAINS.get(module, module)).main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments, *smaller])
        for name, value in environment.items():
            patch.setenv(name, value)
        assert not main(), "the exit status is not 0"


def begins(module: str, arguments: list[str], first: tuple[str, ...]) -> bool:
    return (module, *arguments)[: len(first)] == first


def understood(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """A command's module, its arguments, and the environment that the words before it set."""
    environment = dict(word.split("=", 1) for word in words if "=" in word and word[0].isupper())
    words = [word for word in words if word.split("=")[0] not in environment]
    if words[:2] == ["python", "-m"]:
        return words[2], words[3:], environment
    if words[:2] == ["accelerate", "launch"]:
        launch = launch_command_parser().parse_args(words[2:])
        if launch.config_file:
            assert (ROOT / launch.config_file).is_file(), f"no {launch.config_file}"
        if launch.mixed_precision:
            environment["ACCELERATE_MIXED_PRECISION"] = launch.mixed_precision
        assert launch.module, "accelerate launch runs modules: -m models.train"
        return launch.training_script, launch.training_script_args, environment
    raise ValueError(
        f"{words[0]} is not run by this test; mark the block: <!-- not run: REASON -->"
    )


def check(words: list[str]) -> None:
    """Parses a command that is not run, as far as it is ours."""
    if words[0] == "make":
        targets = (ROOT / "Makefile").read_text()
        assert all(f"\n{word}:" in targets for word in words[1:]), f"no such target: {words}"
    elif words[:2] == ["pip", "install"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lists = [word.partition("[")[2].rstrip("]") for word in words[2:] if "[" in word]
        named = {extra for extras in lists for extra in extras.split(",")}
        assert named <= set(project["optional-dependencies"]), f"no such extra: {named}"
        files = [file for option, file in pairwise(words) if option == "-r"]
        assert all((ROOT / file).is_file() for file in files), f"no such file: {files}"
    elif "bash" in words:  # srun … bash -c 'accelerate launch …'
        for inner in command_lines(words[-1]):
            check([word.replace("$SLURM_NODEID", "1") for word in inner])
    elif {"python", "accelerate"} & set(words):
        parse(*understood(words)[:2])


def parse(module: str, arguments: list[str]) -> None:
    """Parses the arguments of one of our commands."""
    if module == "models.train":
        parse_run_config(arguments)
    elif module == "models.facial.train":
        parse_face_config(arguments)
    elif module == "models":
        models.cli.make_parser().parse_args(arguments)
    elif module == "models.facial":
        models.facial.cli.make_parser().parse_args(arguments)
    else:
        assert module == "prep", f"{module}: a block of it must run"
        dashed = [f"--{w[2:].replace('-', '_')}" if w.startswith("--") else w for w in arguments]
        prep.cli.make_parser().parse_args([w.replace("--retry_", "--retry-") for w in dashed])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: say which language the block is in"
        if block.language == "text":
            hidden = [w for w in ("python -m", "accelerate launch", "pip ") if w in block.text]
            assert not hidden, f"{block.place}: a command; make it a block of bash, which is run"
        if block.language == "yaml":
            settings_of(block)
        if block.mark == "file":
            assert f"`{block.says}`" in page.read_text(encoding="utf-8"), (
                f"{block.place}: no reader sees its name"
            )


def settings_of(block: Block) -> None:
    """Reads a block of YAML as what it is of: a build, a study or a training run."""
    keys = set(yaml.safe_load(block.text))
    if keys <= {"name", "split", "mask", "catalogue", "targets"}:  # a protocol
        as_protocol({"name": "own", **yaml.safe_load(block.text)})
        return
    if keys <= {"caption", "encode", "features", "media", "layout", "columns"}:
        words = ["build", "DUMP", "DATASET", "--config", block.text]
        prep.cli.make_parser().parse_args(words)
    elif "methods" in keys:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "study.yaml"
            path.write_text(block.text, encoding="utf-8")
            read_plan(path)
    else:
        given = yaml.safe_load(block.text)
        options = [f"--{key}={value}" for key, value in flat(given).items()]
        parse_run_config(["--data", "DATASET", "--output", "RUN", *options])


def flat(values: dict, prefix: str = "") -> dict:
    """Keys of keys joined by dots."""
    found = {}
    for key, value in values.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_exist(page: Path) -> None:
    for words in inline_commands(page):
        if words[0] == "accelerate":
            launch_command_parser().parse_args([*words[2:], "-m", "models.train"])
        elif words[2] in MAINS and len(words) > 4:
            parse(words[2], words[3:])
        elif len(words) == 4:
            known = {"prep": PREP, "models": MODELS, "models.facial": FACES}
            assert words[3] in known[words[2]], f"{page}: {words}"
        else:
            assert import_module(MAINS.get(words[2], words[2])).main, f"{page}: {words}"


def test_every_command_and_preset_is_told_of() -> None:
    """In words of ours: the reference, which is generated, names them all by itself."""
    own = [page for page in PAGES if "reference" not in page.parts]
    told = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in own)
    commands = [f"python -m prep {name}" for name in PREP]
    commands += [f"python -m models {name}" for name in MODELS]
    for wanted in [
        *commands,
        "-m models.train",
        "-m models.scaling",
        "-m models.facial.train",
        *(f"python -m models.facial {name}" for name in FACES),
    ]:
        assert wanted in told, f"no page tells of {wanted}"
    for preset in presets():
        forms = (f"`{preset}`", f"--config {preset}`", f"--config {preset} ")
        assert any(form in told for form in forms), f"no page tells of {preset}"
