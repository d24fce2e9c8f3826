"""What a run is made from: typed settings, presets and recipes in YAML, the command line on top."""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace

from models.fusion import FUSIONS, FusionKind
from models.fusion.concat import ConcatSettings
from models.fusion.kind import FusionSettings
from models.items import ITEMS, ItemKind
from models.items.encoder_settings import (
    EncoderSettings,
    MethodSetting,
    StoredTowers,
    method_settings,
    resolve_encoders,
)
from models.items.kind import ID_TOWER
from models.items.side_network import SideSettings
from models.losses import LOSSES, OBJECTIVES
from models.losses.candidates import Negatives, Sampling
from models.losses.kind import known_kind
from models.machine.precision import Precision
from models.migrate import FORMATS, migrate
from models.schedule import Schedule
from models.sequence import SEQUENCES, SequenceKind
from models.sequence.kind import SequenceSettings
from models.sequence.sasrec import SASRecSettings
from toolkit.console.command_help import WIDTH, listed
from toolkit.console.config_help import ConfigHelp, told_clearly
from toolkit.console.terminal import EXIT_STATUSES
from toolkit.errors import UserError
from toolkit.settings import OPTION, refuse_other_shape, selected, split_files
from toolkit.splits import Protocol
from toolkit.yaml_files import read_yaml

Names = dict[str, str]  # of the kinds of a run, by the key that names each
# The kinds that are registered, and the one that settings without this key have.
KINDS: dict[str, tuple[Mapping[str, Any], str]] = {
    "item": (ITEMS, "side-network"),
    "sequence.kind": (SEQUENCES, "sasrec"),
    "fusion.kind": (FUSIONS, "concat"),
}
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
class RatesConfig:
    """Adam's learning rate of each group of parameters, as the public code groups them.

    Args:
        base: everything that no other group names.
        side_block: side blocks of all towers.
        image_head: first head layer of image towers.
        image_gate: gates of image towers.
        text_head: first head layer of text towers.
        text_encoder: what trains of a text encoder itself (item `encoders`).
        image_encoder: of an image or video encoder.
        text_adapter: what an adaptation adds to a text encoder.
        image_adapter: to an image or video encoder.
        text_norm: norms of a text encoder, where they train apart.
        image_norm: norms of an image or video encoder.
    """

    base: float = 2e-4
    side_block: float = 1e-4
    image_head: float = 1e-4
    image_gate: float = 1e-4
    text_head: float = 5e-5
    text_encoder: float = 5e-5
    image_encoder: float = 1e-4
    text_adapter: float = 1e-4
    image_adapter: float = 1e-4
    text_norm: float = 5e-5
    image_norm: float = 1e-4


@dataclass
class TrainConfig:
    """The training loop.

    Args:
        epochs: at most so many.
        batch_size: users a step, of each process.
        accumulation: steps that make one update together, each weighed by its positions: the update of one batch of
            all their users, but for `in-batch`, whose columns stay each step's own. The launcher's setting overrides
            it.
        patience: evaluations without a better validation HR@10 before training stops.
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
        items_at_once: how many items the item encoder takes at a time: the others are encoded again in the backward
            pass, chunk by chunk, so that memory does not grow with the batch. 0 takes all items of a step at once.
        activation_checkpointing: computes what the layers of an encoder hand on again in the backward pass, instead of
            keeping it (item `encoders`).
        evaluate_every: epochs between evaluations on valid; the last epoch has one too.
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
    items_at_once: int = 0
    activation_checkpointing: bool = False
    evaluate_every: int = 1
    rates: RatesConfig = field(default_factory=RatesConfig)

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("epochs", "batch_size", "accumulation", "patience"), 1),
            **dict.fromkeys(("sampled_items", "full_limit"), 1),
            **dict.fromkeys(("log_every_steps", "keep_checkpoints", "evaluate_every"), 1),
            "items_at_once": 0,
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
        item: the item encoder: `side-network` over hidden states; `pooled`, an MLP per tower over the last of them;
            `encoders`, which trains encoders over raw content; or `id` for one learned vector per item.
        towers: names of the stored towers that the item encoder reads: the scenario. Of `id`, none. `pooled` and
            `encoders` take `id` as one of them, for a learned vector per item beside the content.
        states: `stored` reads what prep encoded; `live` runs the frozen encoders in every step.
        encoders: by tower, the encoder that item `encoders` trains (`--encoders.title.dropout 0`); by default what prep
            stored the tower with. Nothing needs to be stored.
        adapt: what of these encoders trains: `full` (the default of item `encoders`), `frozen`, `top-2` and the like,
            `bitfit`, `layernorm`, `lora`, `dora`, `ia3`, `houlsby`, `parallel`, `pfeiffer`, `compacter`, `k-adapter`,
            `prompt`, `prefix`; `--encoders.TOWER.adapt` has another for one tower.
        adapt_settings: of that method, by name; `--encoders.TOWER.adapt_settings` has others for one tower.
        residency: where stored states lie.
        protocol: what ranking masks (`paper`, `clean` or `unmasked`).
        init_from: checkpoint of the public IISAN code (.pt, .safetensors) whose weights the run begins with; its
            towers are text, image, in this order. Empty: fresh weights.
        side: the side network.
        items: settings of an item encoder other than the side network, if it has any.
        fusion: the fusion, which joins the parts of an item.
        sequence: the sequence encoder.
        train: the loop.

    Raises:
        UserError: if a kind is not registered.
    """

    data: str
    output: str
    resume: bool = False
    item: str = "side-network"
    towers: list[str] = field(default_factory=list)
    states: Literal["stored", "live"] = "stored"
    encoders: dict[str, EncoderSettings] = field(default_factory=dict)
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)
    residency: ResidencyConfig = field(default_factory=ResidencyConfig)
    protocol: Protocol = "paper"
    init_from: str = ""
    side: SideSettings = field(default_factory=SideSettings)
    items: Any = None
    fusion: FusionSettings = field(default_factory=ConcatSettings)
    sequence: SequenceSettings = field(default_factory=SASRecSettings)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for key in KINDS:
            refuse_unknown_kind(key, _value(vars(self), key))
        if (
            not self.item_kind.reads_towers and self.towers
        ):  # so that nothing later says that they were
            print(f"item {self.item} reads no towers: {self.towers} are left out", file=sys.stderr)
            self.towers = []
        self._check_encoders()

    def _check_encoders(self) -> None:
        chosen = [f"encoders.{name}" for name in self.encoders] + ["adapt"] * bool(self.adapt)
        if chosen and not self.item_kind.trains_encoders:
            raise UserError(
                f"{', '.join(chosen)}: item {self.item} reads "
                f"{'states of frozen encoders' if self.item_kind.reads_towers else 'no content'} and trains no encoder; "
                "add --item encoders, or leave this out"
            )
        for method in (self.adapt, *(settings.adapt for settings in self.encoders.values())):
            if method:
                method_settings(method)

    @property
    def item_kind(self) -> ItemKind:
        """The declaration of the item encoder."""
        return ITEMS[self.item]

    @property
    def content(self) -> list[str]:
        """The towers of content: without `id`, where the item encoder takes it as a tower."""
        has_id = self.item_kind.has_id_tower(self.towers)
        return [name for name in self.towers if not (has_id and name == ID_TOWER)]

    def with_encoders(self, data: StoredTowers) -> "RunConfig":
        """The config with every setting of the encoders that the run trains; that of another run as it is.

        Raises:
            UserError: if a tower has no encoder or no source.
        """
        if not self.item_kind.trains_encoders:
            return self
        adapt = self.adapt or "full"
        encoders = resolve_encoders(
            self.encoders, self.content, data, adapt=adapt, adapt_settings=self.adapt_settings
        )
        return replace(self, encoders=encoders)

    @property
    def reads(self) -> dict[str, Any]:
        """What of a dataset the run reads, as `models.runs.identity` takes it."""
        trains = self.item_kind.trains_encoders
        return {
            "towers": self.content,
            "states": "live" if trains else self.states,
            "encoders": {name: one.spec for name, one in self.encoders.items()},
        }

    @property
    def knows_new_items(self) -> bool:
        """Whether the model encodes items that it was not trained on."""
        return self.item_kind.knows_new_items and not self.item_kind.has_id_tower(self.towers)

    @property
    def fusion_kind(self) -> FusionKind:
        """The declaration of the fusion."""
        return FUSIONS[self.fusion.kind]

    @property
    def sequence_kind(self) -> SequenceKind:
        """The declaration of the sequence encoder."""
        return SEQUENCES[self.sequence.kind]


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
    named, others = split_files(arguments)
    files = [_config_file(name) for name in named]
    # A flag on the command line, a value in files.
    others = ["--resume=true" if word == "--resume" else word for word in others]
    records = {file: read_yaml(Path(file)) for file in files}
    sources = {f"{OPTION} {file}": values for file, values in records.items()}
    kinds = named_kinds({**sources, "": _typed_values(others)})
    parser = make_parser(kinds=kinds)
    words = [f"{OPTION}={word}" for word in _fitted(records, kinds)]
    for file, values in records.items():
        _refuse_foreign(values, kinds, others, where=Path(file))
    try:
        config = _run_config(parser, parser.parse_args([*words, *others]))
    except ArgumentError as error:
        where = f" (read: {', '.join(files)})" if files else ""
        told = told_clearly(error, parser.format_help())
        raise UserError(f"{told}{where}; every key: python -m models.train --help") from None
    # Not when a run's record is read: a trained model is loaded without its loss.
    known_kind(LOSSES, config.train.loss, key="train.loss")
    known_kind(OBJECTIVES, config.train.objective, key="train.objective")
    return config


def make_parser(
    prog: str = "accelerate launch -m models.train", *, kinds: Names | None = None
) -> ArgumentParser:
    """The parser of a run's options; unknown keys are errors, in files and on the command line.

    Args:
        prog: the command, for its help.
        kinds: whose settings it accepts (`named_kinds`); the default ones if None.
    """
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
    _add_settings(parser, kinds or named_kinds({}))
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
    parser = ArgumentParser(exit_on_error=False)
    kinds = named_kinds({str(path): values})
    refuse_other_shape(values, settings_of(kinds), where=path)
    _add_settings(parser, kinds)
    try:
        return untrusting(_run_config(parser, parser.parse_object(values)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # keys and values of every wrong kind: the parser lets some of Python's errors through
        raise UserError(
            f"{path}: not the settings of a run ({told_clearly(error, '')}); correct the file, or train again"
        ) from None


def save_run_config(config: RunConfig) -> str:
    """The resolved config as YAML, which `--config` reads back."""
    record = {"format": FORMATS["run"], **asdict(untrusting(config))}
    if config.items is None:
        del record["items"]
    return yaml.safe_dump(record, sort_keys=False)


def untrusting(config: RunConfig) -> RunConfig:
    """The same, but code that comes with encoders is not run: that counts only where the user types it."""
    encoders = {
        name: replace(settings, trust_remote_code=False)
        for name, settings in config.encoders.items()
    }
    return replace(config, encoders=encoders)


def _run_config(parser: ArgumentParser, parsed: Namespace) -> RunConfig:
    values: dict[str, Any] = parser.instantiate(parsed).as_dict()
    values.pop("config", None)
    migrate({"format": values.pop("format", 0)}, "run", where=Path("--config"))
    for section in ("sequence", "fusion"):
        kinds, _ = KINDS[f"{section}.kind"]
        settings = vars(values[section])
        values[section] = kinds[settings["kind"]].settings(**settings)
    return RunConfig(**values)


def named_kinds(records: Mapping[str, Mapping[str, Any]]) -> Names:
    """The kinds that settings name, by key; later records override earlier ones.

    Args:
        records: settings by where they come from, for messages; a key may be written with dots.

    Raises:
        UserError: if a kind is not registered.
    """
    names = {key: default for key, (_, default) in KINDS.items()}
    for where, values in records.items():
        for key in KINDS:
            name = _value(values, key)
            if name is not None:
                refuse_unknown_kind(key, name, where=where)
                names[key] = name
    return names


def refuse_unknown_kind(key: str, name: Any, *, where: str = "") -> None:
    """Refuses a kind that is not registered.

    Raises:
        UserError: naming the kinds that are.
    """
    known, _ = KINDS[key]
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"{where}{': ' if where else ''}{key} is {name!r}; known: {', '.join(known)}. A kind of your own is "
            "registered by importing its module first"
        )


def settings_of(kinds: Names) -> type[RunConfig]:
    """`RunConfig` with the settings that some kinds have."""
    sections: dict[str, type] = {}
    for section in ("sequence", "fusion"):
        known, _ = KINDS[f"{section}.kind"]
        name = kinds[f"{section}.kind"]
        sections[section] = _with_choices(known[name].settings, name, known)
    own = ITEMS[kinds["item"]]
    if own.section == "items" and own.settings is not None:
        sections["items"] = own.settings
    parts: list[tuple[str, Any, Any]] = [
        (name, settings, field(default_factory=settings)) for name, settings in sections.items()
    ]
    item: tuple[str, Any, Any] = ("item", Literal[tuple(ITEMS)], kinds["item"])
    typed = make_dataclass("RunConfig", [item, *parts], bases=(RunConfig,))
    typed.__doc__ = RunConfig.__doc__
    return typed


def _with_choices(settings: type, name: str, known: Mapping[str, Any]) -> type:
    """Settings whose `kind` is one of those known, and this one by default."""
    kind: tuple[str, Any, Any] = ("kind", Literal[tuple(known)], name)
    typed = make_dataclass(settings.__name__, [kind], bases=(settings,))
    typed.__doc__ = settings.__doc__
    return typed


def _add_settings(parser: ArgumentParser, kinds: Names) -> None:
    typed = settings_of(kinds)
    has_own = ITEMS[kinds["item"]].section == "items" and ITEMS[kinds["item"]].settings
    parser.add_class_arguments(typed, skip=set() if has_own else {"items"})


def _value(values: Mapping[str, Any], key: str) -> Any:
    """What settings have under a key, which they may write with dots; None where they lack it."""
    section, _, leaf = key.partition(".")
    if key in values or not leaf:
        return values.get(key)
    inner = values.get(section)
    return inner.get(leaf) if isinstance(inner, dict) else getattr(inner, leaf, None)


def _typed_values(words: list[str]) -> dict[str, Any]:
    """What a command line sets, as far as it matters for kinds."""
    values: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        key = option.removeprefix("--")
        if key in KINDS:
            values[key] = value if equals else next(rest, "")
        elif f"{key}.kind" in KINDS:  # a section as a whole, inline or in a file
            text = value if equals else next(rest, "")
            values[f"{key}.kind"] = _kind_inside(text)
    return values


def _kind_inside(text: str) -> Any:
    """The kind that a section names, which is typed as YAML or is a file; None where it names none."""
    try:
        read = read_yaml(Path(text)) if Path(text).is_file() else yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # which the parser reports
    return read.get("kind") if isinstance(read, dict) else None


def _fitted(records: Mapping[str, dict[str, Any]], kinds: Names) -> Iterator[str]:
    """The files as the parser reads them, without the settings of kinds that later files or the command line replace.

    A recipe such as `paper` names SASRec's settings; with another sequence encoder they say nothing. What is left out is
    removed from the records, and reported on stderr.
    """
    then = named_kinds({})
    for file, values in records.items():
        then |= {
            key: name for key, name in named_kinds({file: values}).items() if _value(values, key)
        }
        left_out = [
            f"{section}.{key}"
            for section in ("items", "fusion", "sequence")
            for key in _replaced(values.get(section), section, then, kinds)
        ]
        for key in left_out:
            section, _, leaf = key.partition(".")
            del values[section][leaf]
            if not values[section]:
                del values[section]
        if left_out:
            print(
                f"{file}: {', '.join(left_out)}: settings of a kind that this run does not have, left out",
                file=sys.stderr,
            )
        yield yaml.safe_dump(values) if left_out else file


def _replaced(values: Any, section: str, then: Names, kinds: Names) -> list[str]:
    """Keys of a section that its own kind has, and the chosen one lacks."""
    if not isinstance(values, dict):
        return []
    old, new = (_keys_of(section, names) for names in (then, kinds))
    return [key for key in values if key in old - new]


def _keys_of(section: str, kinds: Names) -> set[str]:
    key = "item" if section == "items" else f"{section}.kind"
    kind = KINDS[key][0][kinds[key]]
    own = kind.settings is not None and getattr(kind, "section", section) == section
    return {part.name for part in fields(kind.settings)} if own else set()


def _refuse_foreign(values: dict[str, Any], kinds: Names, words: list[str], *, where: Path) -> None:
    """Refuses a file that is none of settings, and a run's record that would call a server.

    A run's config.yaml may be somebody else's: which servers follow a run is for whoever starts it to say.

    Raises:
        UserError: if it has another shape, or names trackers that keep no local files and the command line names none.
    """
    refuse_other_shape(
        {key: value for key, value in values.items() if key != "format"},
        settings_of(kinds),
        where=where,
    )
    _refuse_remote_code(values, settings_of(kinds), words, where=where)
    if any(word.partition("=")[0] == "--train.trackers" for word in words):
        return
    named = values.get("train", {}).get("trackers")
    distant = [name for name in named if name not in LOCAL] if isinstance(named, list) else []
    if {"format", "resume"} & values.keys() and distant:  # older records have no number
        raise UserError(
            f"--config {where}: a run's record, whose train.trackers is {named}: who is told of a run is yours to "
            f"say; type --train.trackers '{named}' to allow it, or --train.trackers '[]'"
        )


def _refuse_remote_code(
    values: dict[str, Any], config: type, words: list[str], *, where: Path
) -> None:
    """Refuses a file that has code run which comes with an encoder, unless that is typed too."""
    asked: list[str] = []

    def note(key: str, field: Any, value: Any) -> bool:
        if key.endswith(".trust_remote_code") and value:
            asked.append(key)
        return True

    shown = {key: value for key, value in values.items() if key != "format"}
    selected(shown, config, note, where=where, dotted=True)
    typed = {word.partition("=")[0] for word in words}
    for key in asked:
        parts = key.split(".")
        if not typed & {"--" + ".".join(parts[:count]) for count in range(1, len(parts) + 1)}:
            raise UserError(
                f"{OPTION} {where}: asks for {key} (it runs Python code that comes with the model); this counts only "
                f"when typed in this call, since the file may be somebody else's: to allow it, add --{key} true"
            )


def _config_file(name: str) -> str:
    if Path(name).is_file():
        return name
    if name in presets():
        return str(PRESETS / f"{name}.yaml")
    raise UserError(
        f"--config {name}: neither a file nor a preset; presets: {', '.join(presets())}"
    )
