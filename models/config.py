"""What a run is made from: typed settings, presets and recipes in YAML, the command line on top."""

import sys
import textwrap
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace

from models.items.side_blocks import Activation
from models.items.side_network import Mixing, Parts
from models.losses import LOSSES, OBJECTIVES
from models.losses.candidates import Negatives, Sampling
from models.losses.kind import known_kind
from models.migrate import FORMATS, migrate
from models.schedule import Schedule
from toolkit.console.command_help import WIDTH, listed
from toolkit.console.config_help import ConfigHelp, told_clearly
from toolkit.console.terminal import EXIT_STATUSES
from toolkit.errors import UserError
from toolkit.settings import OPTION, refuse_other_shape, split_files
from toolkit.splits import Protocol
from toolkit.towers import Modality
from toolkit.yaml_files import read_yaml

Precision = Literal["no", "bf16", "fp16"]
PRESETS = Path(__file__).parent / "configs"
LOCAL = ("tensorboard",)  # trackers that write files and call nobody
ABOUT = """Trains a recommender on a dataset that prep wrote, and tests its best epoch once.

Reads DATASET and writes RUN: config.yaml, log.jsonl, checkpoints/, model/,
metrics/test.json. --config takes presets and recipes (listed below) or YAML
files; later ones override earlier ones, and keys on the command line override
all of them. `python -m models.train` trains with one process. --json prints the
test's metrics as JSON, and nothing else on stdout; --quiet prints neither
progress nor results."""
EXAMPLES = (
    "accelerate launch -m models.train --config text-only --data demo/dataset --output runs/a",
    "python -m models.train --config raw-image --config modern --data demo/dataset \\\n"
    "      --output runs/b --train.epochs 5 --train.seed 2",
    "python -m models.train --data demo/dataset --output runs/c --towers '[title, cover]'",
    "python -m models.train --config text-only --data demo/dataset --output runs/a --resume",
)


@dataclass
class SideConfig:
    """The side network.

    Args:
        embedding_dim: E, width of item embeddings and user states.
        bottleneck: inner width of the side blocks.
        bottlenecks: by tower, where it is to be another; `inter` is the tower between towers, which otherwise has
            that of the narrowest tower.
        activation: of the side blocks.
        dropout: of the side blocks' inner layer.
        parts: `both`, or as ablations `intra` (a side tower each, nothing between them) or `inter` (the tower
            between towers alone).
        mixing: `gated`, or as an ablation `sum`: states are added up without gates.
        wide_heads: whether the first head layer keeps the tower's width, as in IISAN, or goes to embedding_dim at
            once, as in IISAN-Versa.
        modality: by tower, `text` or `image` where the learning-rate groups are to differ from
            those of the tower's encoder.
    """

    embedding_dim: int = 64
    bottleneck: int = 64
    bottlenecks: dict[str, int] = field(default_factory=dict)
    activation: Activation = "relu"
    dropout: float = 0.0
    parts: Parts = "both"
    mixing: Mixing = "gated"
    wide_heads: bool = False
    modality: dict[str, Modality] = field(default_factory=dict)

    def __post_init__(self) -> None:
        narrowest = min([self.bottleneck, *self.bottlenecks.values()])
        if narrowest < 1:
            raise UserError(f"side: a bottleneck is {narrowest}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"side.dropout is {self.dropout}; it must be in [0, 1)")


@dataclass
class SequenceConfig:
    """The sequence encoder (SASRec).

    Args:
        max_len: L, inputs a sequence; the last L + 3 interactions of a user are kept.
        heads: attention heads.
        blocks: blocks.
        dropout: dropout probability.
    """

    max_len: int = 10
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1


@dataclass
class RatesConfig:
    """Adam's learning rate of each group of parameters, as the public code groups them.

    Args:
        base: everything that no other group names.
        side_block: side blocks of all towers.
        image_head: first head layer of image towers.
        image_gate: gates of image towers.
        text_head: first head layer of text towers.
    """

    base: float = 2e-4
    side_block: float = 1e-4
    image_head: float = 1e-4
    image_gate: float = 1e-4
    text_head: float = 5e-5


@dataclass
class TrainConfig:
    """The training loop.

    Args:
        epochs: at most so many.
        batch_size: users a step, of each process.
        accumulation: steps that make one update together, each weighed by its positions: the update of one batch of
            all their users, but for `in-batch`, whose columns stay each step's own. The launcher's setting overrides
            it.
        patience: epochs without a better validation HR@10 before training stops.
        seed: of initial weights, order, drawn items and dropout.
        initial_std: weights of the sequence encoder and vectors of `id` begin normal with it, as RecBole's do with 0.02;
            0 leaves them Xavier's, and vectors of norm 1.
        objective: which positions are predicted: `next-item`, each from the items up to it; `last-item`, a
            sequence's last item alone; `masked-item`, items hidden behind a mask token, for sequence encoders that take
            one.
        mask_ratio: of the items, hidden under `masked-item`.
        loss: softmax over which items: `in-batch`, those of the batch, corrected for their popularity (the papers');
            `full`, the whole catalogue; `sampled`, items drawn for each step, corrected for their expected number; or a
            loss of your own (`models.losses.LOSSES`).
        loss_settings: of a loss of your own, by name.
        negatives: `local`, each process's own columns; `global`, those of all processes together, which
            share the encoding of them: the same loss as one process with their batches joined.
        sampled_items: drawn in a step, under `sampled`.
        sampled_by: `uniform` over the catalogue, or `popularity` in training.
        full_limit: `full` encodes the whole catalogue in every step; content is refused beyond so many items.
        optimizer: `adam` (the papers') or `adamw`.
        weight_decay: of `adamw`.
        schedule: of the learning rates after warm-up: `constant`, or down to 0 at the last epoch's end by
            `cosine` or `linear`.
        warmup_updates: over which learning rates rise from 0.
        clip_norm: gradients are scaled down to this norm where theirs is larger; 0 does not.
        log_every_steps: steps between lines of log.jsonl.
        trackers: who is told these lines too, by Accelerate's names: `tensorboard` (its files lie in the run's
            trackers/), `wandb`, `mlflow` and others; none where the list is empty.
        checkpoint_every_steps: steps between checkpoints; 0 makes one an epoch.
        keep_checkpoints: how many of the newest stay.
        mixed_precision: `no`, `bf16`, or `fp16` (on a GPU); the launcher's setting overrides it.
        compile: has torch compile the item encoder (and on a GPU the sequence encoder): a minute or two at the
            start, and shorter steps from then on.
        cuda_graphs: records the step of each size of batch once and replays it on the GPU, where the launches of
            small kernels are what takes time. One process; bf16 or no mixed precision.
        rates: learning rates.
    """

    epochs: int = 200
    batch_size: int = 64
    accumulation: int = 1
    patience: int = 10
    seed: int = 1
    initial_std: float = 0.0
    objective: str = "next-item"
    mask_ratio: float = 0.2
    loss: str = "in-batch"
    loss_settings: dict[str, bool | int | float | str] = field(default_factory=dict)
    negatives: Negatives = "local"
    sampled_items: int = 1024
    sampled_by: Sampling = "uniform"
    full_limit: int = 25_000
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup_updates: int = 0
    clip_norm: float = 0.0
    log_every_steps: int = 50
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    mixed_precision: Precision = "no"
    compile: bool = False
    cuda_graphs: bool = False
    rates: RatesConfig = field(default_factory=RatesConfig)

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("epochs", "batch_size", "accumulation", "patience"), 1),
            **dict.fromkeys(("sampled_items", "full_limit"), 1),
            **dict.fromkeys(("log_every_steps", "keep_checkpoints"), 1),
            **dict.fromkeys(("weight_decay", "warmup_updates", "clip_norm"), 0),
            "initial_std": 0,
            "checkpoint_every_steps": 0,
        }
        for key, smallest in least.items():
            value = getattr(self, key)
            if not value >= smallest:
                raise UserError(f"train.{key} is {value}; it must be at least {smallest}")
        if not 0 < self.mask_ratio <= 1:
            raise UserError(f"train.mask_ratio is {self.mask_ratio}; it must be in (0, 1]")
        if self.weight_decay and self.optimizer == "adam":
            raise UserError(
                f"train.weight_decay is {self.weight_decay}, and train.optimizer adam, which decays no "
                "weights; take adamw, or leave it out"
            )


@dataclass
class ResidencyConfig:
    """Where stored hidden states lie while a model reads them; results do not depend on it.

    Args:
        place: device is where the model computes; host is this machine's memory, from which the next batch is
            gathered while this one trains; mapped is the disk, mapped into memory and gathered from likewise;
            auto takes the first of them that has room.
        device_gib: what states may take of a GPU; by default half of what is free.
        host_gib: what they may take of this machine's memory in each process; by default half of what is free,
            divided by the processes.
    """

    place: Literal["auto", "device", "host", "mapped"] = "auto"
    device_gib: float | None = None
    host_gib: float | None = None


@dataclass
class RunConfig:
    """A training run.

    Args:
        data: dataset folder that prep wrote.
        output: run folder to write; must not exist, or be empty, unless `resume`.
        resume: goes on from the newest checkpoint in `output`; starts where there is nothing yet.
        item: `side-network` over hidden states, or `id` for one learned vector an item.
        towers: names of the stored towers that the side network reads: the scenario. Of `id`, none.
        states: `stored` reads what prep encoded; `live` runs the frozen encoders in every step.
        residency: where stored states lie.
        protocol: what ranking masks (`paper`, `clean` or `unmasked`).
        init_from: checkpoint of the public IISAN code (.pt, .safetensors) whose weights the run begins with; its
            towers are text, image, in this order. Empty: fresh weights.
        side: the side network.
        sequence: the sequence encoder.
        train: the loop.
    """

    data: str
    output: str
    resume: bool = False
    item: Literal["side-network", "id"] = "side-network"
    towers: list[str] = field(default_factory=list)
    states: Literal["stored", "live"] = "stored"
    residency: ResidencyConfig = field(default_factory=ResidencyConfig)
    protocol: Protocol = "paper"
    init_from: str = ""
    side: SideConfig = field(default_factory=SideConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.item == "id" and self.towers:  # so that nothing later says that they were
            print(f"item id reads no towers: {self.towers} are left out", file=sys.stderr)
            self.towers = []


def presets() -> list[str]:
    """Names that `--config` takes beside file names."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def parse_run_config(arguments: list[str] | None = None) -> RunConfig:
    """Reads a `RunConfig` from command-line arguments.

    `--config` takes a preset, a recipe or a file, and may be given several times; later ones override
    earlier ones, and options override all of them, wherever they stand.

    Raises:
        UserError: if a key is unknown, a value does not fit, or a file cannot be read.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = make_parser()
    named, others = split_files(arguments)
    files = [_config_file(name) for name in named]
    # A flag on the command line, a value in files.
    others = ["--resume=true" if word == "--resume" else word for word in others]
    for file in files:
        _refuse_foreign(Path(file), others)
    try:
        config = _run_config(
            parser, parser.parse_args([*(f"{OPTION}={file}" for file in files), *others])
        )
    except ArgumentError as error:
        where = f" (read: {', '.join(files)})" if files else ""
        told = told_clearly(error, parser.format_help())
        raise UserError(f"{told}{where}; every key: python -m models.train --help") from None
    # Not when a run's record is read: a trained model is loaded without its loss.
    known_kind(LOSSES, config.train.loss, key="train.loss")
    known_kind(OBJECTIVES, config.train.objective, key="train.objective")
    return config


def make_parser(prog: str = "accelerate launch -m models.train") -> ArgumentParser:
    """The parser of a run's options; unknown keys are errors, in files and on the command line."""
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} --data DATASET --output RUN [--config PRESET …] [--KEY VALUE …]",
        description=ABOUT,
        epilog=f"{_described_presets()}\n\n{listed(EXAMPLES)}\n\n{EXIT_STATUSES}",
        formatter_class=ConfigHelp,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "--config", action="config", help="preset, recipe or YAML file; may be given several times"
    )
    parser.add_class_arguments(RunConfig)
    parser.add_argument("--format", type=int, default=FORMATS["run"], help=SUPPRESS)  # of a record
    return parser


def _described_presets() -> str:
    """The first sentence of each preset's comment."""
    lines = []
    for name in presets():
        text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
        comment = " ".join(takewhile(lambda line: line.startswith("#"), text.splitlines()))
        sentence = comment.replace("# ", "").split(". ")[0].removesuffix(".")
        lines.append(
            textwrap.fill(
                sentence, WIDTH, initial_indent=f"  {name:<17}", subsequent_indent=" " * 19
            )
        )
    return "\n".join(["presets and recipes for --config:", *lines])


def load_run_config(path: Path) -> RunConfig:
    """Reads a `RunConfig` from a run's config.yaml, of this Versa or an older one.

    Raises:
        UserError: if it is no such file: naming it, and the key that is wrong.
    """
    values = migrate(read_yaml(path), "run", where=path)
    if not values:
        raise UserError(
            f"{path}: empty; expected the settings of a run, which training writes there"
        )
    refuse_other_shape(values, RunConfig, where=path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    try:
        return _run_config(parser, parser.parse_object(values))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # keys and values of every wrong kind: the parser lets some of Python's errors through
        raise UserError(
            f"{path}: not the settings of a run ({told_clearly(error, '')}); correct the file, or train again"
        ) from None


def save_run_config(config: RunConfig) -> str:
    """The resolved config as YAML, which `--config` reads back."""
    record = {"format": FORMATS["run"], **asdict(config)}
    return yaml.safe_dump(record, sort_keys=False)


def _run_config(parser: ArgumentParser, parsed: Namespace) -> RunConfig:
    values: dict[str, Any] = parser.instantiate(parsed).as_dict()
    values.pop("config", None)
    migrate({"format": values.pop("format", 0)}, "run", where=Path("--config"))
    return RunConfig(**values)


def _refuse_foreign(file: Path, words: list[str]) -> None:
    """Refuses a file that is none of settings, and a run's record that would call a server.

    A run's config.yaml may be somebody else's: which servers follow a run is for whoever starts it to say.

    Raises:
        UserError: if it has another shape, or names trackers that keep no local files and the command line names none.
    """
    values = read_yaml(file)
    refuse_other_shape(
        {key: value for key, value in values.items() if key != "format"}, RunConfig, where=file
    )
    if any(word.partition("=")[0] == "--train.trackers" for word in words):
        return
    named = values.get("train", {}).get("trackers")
    distant = [name for name in named if name not in LOCAL] if isinstance(named, list) else []
    if {"format", "resume"} & values.keys() and distant:  # older records have no number
        raise UserError(
            f"--config {file}: a run's record, whose train.trackers is {named}: who is told of a run is yours to "
            f"say; type --train.trackers '{named}' to allow it, or --train.trackers '[]'"
        )


def _config_file(name: str) -> str:
    if Path(name).is_file():
        return name
    if name in presets():
        return str(PRESETS / f"{name}.yaml")
    raise UserError(
        f"--config {name}: neither a file nor a preset; presets: {', '.join(presets())}"
    )
