"""The config of a run: typed settings, read from presets, YAML files and the command line."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from models.adaptation import MethodSetting, method_settings
from models.fusion import FUSIONS, FusionKind
from models.fusion.concat import ConcatSettings
from models.fusion.kind import FusionSettings
from models.general import GENERAL, RECOMMENDERS, GeneralKind
from models.general.sequential import SequentialSettings
from models.inputs.reads import Reads
from models.items import ITEMS, ItemKind
from models.items.encoder_settings import (
    EncoderSettings,
    StoredTowers,
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
from models.training.remote_trackers import refuse_remote_trackers
from toolkit.arguments import refuse_below, refuse_no_seed
from toolkit.console.command_help import listed
from toolkit.console.config_help import told_clearly
from toolkit.console.named_files import described_files, named_file, names_in
from toolkit.console.parsing import new_parser, parse
from toolkit.console.terminal import EXIT_STATUSES
from toolkit.errors import UserError
from toolkit.metrics import metric_at
from toolkit.own_protocols import ProtocolRecord, as_protocol
from toolkit.protocols import Protocol
from toolkit.settings import OPTION, refuse_other_shape, selected, split_files
from toolkit.yaml_files import read_yaml

KindNames = dict[str, str]  # the names of a run's kinds by setting, such as `sequence.kind`
# The registered kinds and the default of each setting that names a kind.
KINDS: dict[str, tuple[Mapping[str, Any], str]] = {
    "recommender.kind": (RECOMMENDERS, "sequential"),
    "item": (ITEMS, "side-network"),
    "sequence.kind": (SEQUENCES, "sasrec"),
    "fusion.kind": (FUSIONS, "concat"),
}
_BY_KIND = ("recommender", "fusion", "sequence")  # sections whose keys depend on their kind
PRESETS = Path(__file__).parent / "configs"
PROG = "accelerate launch -m models.train"
ABOUT = """Trains a recommender on a dataset that prep wrote, and evaluates its best epoch on the test split.

Reads DATASET and writes config.yaml, log.jsonl, checkpoints/, model/ and
metrics/test.json to RUN. --config accepts presets, recipes and overlays (listed
below) and YAML files. Later files override earlier ones, and options on the command
line override all files. `python -m models.train` trains with one process.
--json prints the test metrics as JSON and nothing else on stdout. --quiet
prints neither progress nor results."""
EXAMPLES = (
    "accelerate launch -m models.train --config text-only --data demo/dataset --output runs/a",
    "python -m models.train --config raw-image --config modern --data demo/dataset \\\n"
    "      --output runs/b --train.epochs 5 --train.seed 2",
    "python -m models.train --data demo/dataset --output runs/c --towers '[title, cover]'",
    "python -m models.train --config text-only --data demo/dataset --output runs/a --resume",
)


@dataclass
class RatesConfig:
    """Learning rates by parameter group, with the groups of the public code.

    Args:
        base: all parameters outside the other groups.
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
        sequence_encoder: what trains of the sequence encoder itself, if `sequence.adapt` is set.
        sequence_adapter: what an adaptation adds to it.
        sequence_norm: its norms, where they train apart.
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
    sequence_encoder: float = 1e-4
    sequence_adapter: float = 1e-4
    sequence_norm: float = 1e-4

    def __post_init__(self) -> None:
        refuse_below(dict.fromkeys(vars(self), 0), vars(self), lead="train.rates.")


@dataclass
class TrainConfig:
    """The training loop.

    Args:
        epochs: maximum number of epochs. 0 evaluates the initial model: with `init_from`, zero-shot.
        batch_size: users per step and process.
        accumulation: steps per optimizer update. Each step is weighted by its number of predicted positions, so the
            update equals that of one large batch, except for `in-batch`, whose negatives remain those of each step. The
            launcher's setting overrides it.
        patience: stop after this many evaluations without a better validation metric (`select_by`).
        max_seconds: stop after the epoch in which the seconds of training, without evaluations, reach this number. They
            are counted over all calls of a resumed run. 0 for no limit.
        test: evaluate the best epoch on the test split at the end. Without it, the run ends with the validation split,
            and `python -m models evaluate` reads the test split later.
        select_by: metric of the validation split that selects the best epoch: HR@K, NDCG@K or MRR@K.
        seed: random seed of initial weights, order, sampled items and dropout.
        user_share: share of the users whose sequences are trained on, in (0, 1]; all are evaluated. A smaller share is a
            part of a larger one.
        user_seed: seed of the draw of these users.
        initial_std: standard deviation of the normal initial weights of the sequence encoder and of the vectors of
            `id`; RecBole uses 0.02. 0 selects Xavier weights, and vectors with norm 1.
        vector_std: the same for the vectors of `id` alone; 0 selects `initial_std`.
        objective: predicted positions. `next-item` predicts every item from the items before it; `last-item` only the
            last item of a sequence; `masked-item` items behind a mask token, which the sequence encoder must support.
        mask_ratio: fraction of the items that `masked-item` hides.
        loss: training loss. Three are softmax losses over candidate items: `in-batch` uses the items of the batch,
            corrected for popularity, as in the papers; `full` the whole catalogue; `sampled` items drawn for each step,
            corrected for their expected number. Three compare each target with items drawn for it: `bce` (binary
            cross-entropy), `gbce` (calibrated binary cross-entropy) and `bpr` (pairwise ranking). You can also register
            your own loss (`models.losses.LOSSES`).
        loss_settings: further settings of a loss by name: `t` of `gbce`, and those of your own loss.
        negatives: `local` uses the candidates of each process separately. `global` shares the candidates of all
            processes, with the same loss as one process with a joined batch.
        sampled_items: items per step for `sampled`.
        negatives_per_target: items drawn for each target for `bce`, `gbce` and `bpr`, outside of its sequence.
        sampled_by: distribution of drawn items: `uniform` over the catalogue, or `popularity` in training.
        full_limit: maximum catalogue size for `full` with content, which encodes the whole catalogue in every step.
        optimizer: `adam`, as in the papers, or `adamw`.
        weight_decay: weight decay of `adamw`, for matrices: biases, norms, gates and embeddings have none.
        group_weight_decay: weight decay of single learning-rate groups in place of `weight_decay`, such as
            `{text_encoder: 0}`.
        schedule: learning rates after warm-up: `constant`, or decay to 0 at the end of the last epoch by `cosine` or
            `linear`.
        warmup_updates: updates over which learning rates rise linearly from 0.
        clip_norm: maximum gradient norm; larger gradients are scaled down. 0 disables clipping.
        log_every_steps: steps between entries in log.jsonl.
        trackers: trackers that also receive these entries, by Accelerate's names: `tensorboard` (which writes to
            trackers/ in the run folder), `wandb`, `mlflow` and others. An empty list disables them.
        checkpoint_every_steps: steps between checkpoints; 0 writes one per epoch.
        keep_checkpoints: number of newest checkpoints to keep.
        mixed_precision: `no`, `bf16`, or `fp16` (on a GPU). The launcher's setting overrides it.
        compile: compile the item encoder with torch.compile, and on a GPU also the sequence encoder. This takes a minute
            or two at the start and makes steps faster.
        cuda_graphs: capture a CUDA graph per batch size and replay it, which is faster if kernel launches dominate.
            Requires one process, and bf16 or no mixed precision.
        items_at_once: number of items that the item encoder processes at once. The others are encoded again in the
            backward pass, in chunks, so that memory does not grow with the batch. 0 processes all items of a step at once.
        activation_checkpointing: recompute the activations of an encoder's layers in the backward pass instead of keeping
            them (item `encoders`).
        workers: threads of each process that decode and resize covers and frames ahead of the step (item `encoders`); 0
            divides the CPU cores of the machine among the run's processes there. Results do not depend on it.
        evaluate_every: epochs between evaluations on the validation split; the last epoch always has one.
        rates: learning rates.
    """

    epochs: int = 200
    batch_size: int = 64
    accumulation: int = 1
    patience: int = 10
    max_seconds: float = 0.0
    test: bool = True
    select_by: str = "HR@10"
    seed: int = 1
    user_share: float = 1.0
    user_seed: int = 0
    initial_std: float = 0.0
    vector_std: float = 0.0
    objective: str = "next-item"
    mask_ratio: float = 0.2
    loss: str = "in-batch"
    loss_settings: dict[str, bool | int | float | str] = field(default_factory=dict)
    negatives: Negatives = "local"
    sampled_items: int = 1024
    negatives_per_target: int = 1
    sampled_by: Sampling = "uniform"
    full_limit: int = 25_000
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    group_weight_decay: dict[str, float] = field(default_factory=dict)
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
    workers: int = 0
    evaluate_every: int = 1
    rates: RatesConfig = field(default_factory=RatesConfig)

    def __post_init__(self) -> None:
        least = {
            "epochs": 0,
            **dict.fromkeys(("batch_size", "accumulation", "patience"), 1),
            **dict.fromkeys(("sampled_items", "negatives_per_target", "full_limit"), 1),
            **dict.fromkeys(("log_every_steps", "keep_checkpoints", "evaluate_every"), 1),
            **dict.fromkeys(("items_at_once", "workers"), 0),
            **dict.fromkeys(("weight_decay", "warmup_updates", "clip_norm"), 0),
            **dict.fromkeys(("initial_std", "vector_std", "max_seconds"), 0),
            "checkpoint_every_steps": 0,
        }
        refuse_below(least, vars(self), lead="train.")
        refuse_no_seed(vars(self), "seed", "user_seed", lead="train.")
        if not 0 < self.mask_ratio <= 1:
            raise UserError(f"train.mask_ratio is {self.mask_ratio}; it must be in (0, 1]")
        if not 0 < self.user_share <= 1:
            raise UserError(f"train.user_share is {self.user_share}; it must be in (0, 1]")
        try:
            metric, cutoff = metric_at(self.select_by)
        except UserError as error:
            raise UserError(f"train.select_by: {error}") from None
        self.select_by = f"{metric}@{cutoff}"
        self._check_decay()

    def _check_decay(self) -> None:
        groups = [f.name for f in fields(RatesConfig)]
        for group, decay in self.group_weight_decay.items():
            if group not in groups or decay < 0:
                raise UserError(
                    f"train.group_weight_decay is {{{group}: {decay}}}; it must be at least 0, for one of the groups "
                    f"{', '.join(groups)}"
                )
        chosen = {
            "weight_decay": self.weight_decay,
            "group_weight_decay": self.group_weight_decay
            if any(self.group_weight_decay.values())
            else None,
        }
        for key, value in chosen.items():
            if value and self.optimizer == "adam":
                raise UserError(
                    f"train.{key} is {value}, but train.optimizer adam has no weight decay; use "
                    f"--train.optimizer adamw, or leave out train.{key}"
                )


@dataclass
class ResidencyConfig:
    """Residency of stored hidden states: where they are kept for reading. It does not change results.

    Args:
        place: `device` keeps states on the device of the model; `host` in memory, with prefetch of the next batch;
            `mapped` in memory-mapped files, also with prefetch; `auto` selects the first of these in which the states
            fit.
        device_gib: GPU memory for states; by default half of the free memory.
        host_gib: memory for states per process; by default half of the free memory, divided by the number of processes.
    """

    place: Literal["auto", "device", "host", "mapped"] = "auto"
    device_gib: float | None = None
    host_gib: float | None = None

    def __post_init__(self) -> None:
        refuse_below({"device_gib": 0, "host_gib": 0}, vars(self), lead="residency.")


@dataclass
class RunConfig:
    """A training run.

    Args:
        data: dataset folder that prep wrote.
        output: run folder to create; must be absent or empty, except with `resume`.
        resume: continue from the newest checkpoint in `output`, or start a new run if `output` is empty.
        item: item encoder: `side-network` over hidden states; `pooled`, an MLP per tower over the last of them;
            `encoders`, which trains encoders over raw content; or `id` for one learned vector per item.
        towers: names of the towers that the item encoder reads (the scenario); none for `id`. `pooled` and `encoders`
            also take `id` as a tower: a learned vector per item beside the content.
        states: `stored` reads the hidden states that prep stored; `live` runs the frozen encoders in every step.
        encoders: per tower, the encoder that item `encoders` trains (`--encoders.title.dropout 0`); by default the encoder
            that prep stored the tower with. The tower need not be stored.
        adapt: what trains in these encoders: `full` (the default), `frozen`, `top-K` (such as `top-2`), `bitfit`,
            `layernorm`, `lora`, `dora`, `ia3`, `houlsby`, `parallel`, `pfeiffer`, `compacter`, `k-adapter`, `prompt` or
            `prefix`; `--encoders.TOWER.adapt` sets it for one tower.
        adapt_settings: settings of this method by name; `--encoders.TOWER.adapt_settings` sets them for one tower.
        residency: residency of stored states.
        protocol: the evaluation protocol, which also splits the data: `paper`, `clean` or `unmasked` (leave-one-out, with
            three ways to mask the history), `cold`, `warm-K` such as `warm-5`, `new-item` or `new-item-joint` (other
            targets or items), `time`, `time-successive` or `time-random` (a global cut in time), or the path of a YAML file.
        init_from: source of the initial weights: a run, a model folder, a model on the hub, or a checkpoint of the public
            IISAN code (.pt or .safetensors), for a text and an image tower in this order. Empty for new weights.
        init_parts: parts that begin with these weights: `items`, `sequence`, `fusion`, `recommender` or names of towers,
            such as `sequence,title`; or `all` that can. Vectors of items and users never move to another dataset.
        recommender: `sequential`, with an item encoder and a sequence encoder; or a general recommender, which does not
            read the order of a history: `popularity`, `item-knn`, `ease` and others, with their settings.
        side: side network.
        items: settings of an item encoder other than the side network, if it has any.
        fusion: fusion, which joins the parts of an item.
        sequence: sequence encoder.
        train: training loop.

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
    protocol: ProtocolRecord = "paper"
    init_from: str = ""
    init_parts: list[str] | str = field(default_factory=lambda: ["all"])
    recommender: Any = field(default_factory=SequentialSettings)
    side: SideSettings = field(default_factory=SideSettings)
    items: Any = None
    fusion: FusionSettings = field(default_factory=ConcatSettings)
    sequence: SequenceSettings = field(default_factory=SASRecSettings)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for key in KINDS:
            refuse_unknown_kind(key, _value(vars(self), key))
        self.protocol = as_protocol(self.protocol).record  # of a file, its content
        if self.general_kind is not None:
            self._settle_general(self.general_kind)
        if not self.item_kind.reads_towers and self.towers:
            # Removed here, so that no record or report lists towers that the model does not read.
            print(
                f"item {self.item} reads no towers: towers {self.towers} are ignored",
                file=sys.stderr,
            )
            self.towers = []
        repeated = next((name for name in self.towers if self.towers.count(name) > 1), None)
        if repeated is not None:
            raise UserError(f"towers {self.towers}: repeats {repeated}; name each tower once")
        self.init_parts = self.initial_parts
        self._check_encoders()

    def _settle_general(self, kind: GeneralKind) -> None:
        """Removes the settings that a general recommender does not read, so that no record lists them.

        Raises:
            UserError: if a setting contradicts the recommender.
        """
        name, sequence = self.recommender.kind, cast(Any, type(self.sequence))
        if self.sequence.kind != "sasrec" or vars(self.sequence).get("adapt"):
            raise UserError(
                f"recommender.kind {name} has no sequence encoder; leave out sequence.kind and sequence.adapt, or add "
                "--recommender.kind sequential"
            )
        if self.init_from and kind.reads != "vectors":
            raise UserError(
                f"init_from: recommender.kind {name} has no weights but those of the items and users of one dataset, which "
                "never move to another; leave out init_from"
            )
        if kind.needs_user and self.train.user_share < 1:
            raise UserError(
                f"recommender.kind {name} has vectors for the users that it trains on, and none to evaluate the others with; "
                "leave out train.user_share"
            )
        self.sequence = sequence(max_len=self.sequence.max_len)
        if kind.reads == "numbers":
            self.item = "id"
        elif kind.reads == "features" and self.item != "pooled":
            raise UserError(
                f"recommender.kind {name} reads the last of the stored states of each tower; add --item pooled"
            )
        if self.train.objective not in ("next-item", "last-item"):
            raise UserError(
                f"recommender.kind {name} predicts each interaction of a user; leave out train.objective "
                f"{self.train.objective}"
            )
        self.train = replace(self.train, objective="last-item")

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
        self.sequence_kind.check(self.sequence)

    @property
    def general_kind(self) -> GeneralKind | None:
        """The declaration of the general recommender; None for a sequential one."""
        return GENERAL.get(self.recommender.kind)

    @property
    def title(self) -> str:
        """The kinds and towers of the run, in a few words."""
        items = f"{self.item} {self.towers}" if self.encodes_items or self.towers else ""
        return items if self.general_kind is None else f"{self.recommender.kind} {items}".strip()

    @property
    def about(self) -> str:
        """What the model reads of items and users, for its card."""
        sentences = [self.item_kind.about(self.towers)] if self.encodes_items else []
        if self.general_kind is not None:
            sentences.append(self.general_kind.about(self.recommender))
        return " ".join(sentences)

    @property
    def encodes_items(self) -> bool:
        """Whether the model has an item encoder."""
        return self.general_kind is None or self.general_kind.reads == "vectors"

    @property
    def noun(self) -> str:
        """Name of such a model in messages, such as `an ID model`."""
        kind = self.general_kind
        return self.item_kind.noun if kind is None or self.encodes_items else kind.noun

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
    def reads(self) -> Reads:
        """What of a dataset the run reads."""
        return Reads(
            towers=self.content,
            states="live" if self.item_kind.trains_encoders else self.states,
            encoders={name: one.spec for name, one in self.encoders.items()},
            tokens=[name for name, one in self.encoders.items() if one.from_layer],
            times=self.takes_times or self.evaluation_protocol.split.needs_times,
        )

    @property
    def takes_times(self) -> bool:
        """Whether the model reads the times of interactions."""
        return self.general_kind is None and self.sequence_kind.takes_times

    @property
    def evaluation_protocol(self) -> Protocol:
        """The protocol as a value."""
        return as_protocol(self.protocol)

    @property
    def knows_new_items(self) -> bool:
        """Whether the model encodes items that it was not trained on."""
        learns_ids = self.item_kind.has_id_tower(self.towers) or not self.encodes_items
        return self.item_kind.knows_new_items and not learns_ids

    @property
    def fusion_kind(self) -> FusionKind:
        """The declaration of the fusion."""
        return FUSIONS[self.fusion.kind]

    @property
    def sequence_kind(self) -> SequenceKind:
        """The declaration of the sequence encoder."""
        return SEQUENCES[self.sequence.kind]

    @property
    def initial_parts(self) -> list[str]:
        """The names in `init_parts`."""
        names = self.init_parts
        names = names.split(",") if isinstance(names, str) else names
        return [name.strip() for name in names]

    @property
    def adapts_sequences(self) -> str:
        """The adaptation method that leaves weights of the sequence encoder as they are; empty for none."""
        method: str = getattr(self.sequence, "adapt", "")
        return "" if method == "full" else method


def presets() -> list[str]:
    """Names of the presets that `--config` accepts."""
    return names_in(PRESETS)


def parse_run_config(arguments: list[str] | None = None) -> RunConfig:
    """Reads a `RunConfig` from command-line arguments.

    `--config` accepts a preset, a recipe or a file, and can be repeated. Later files override earlier ones, and options
    override all files, regardless of their order.

    Raises:
        UserError: if a key is unknown, a value is invalid, or a file cannot be read.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    names, options = split_files(arguments)
    files = [str(named_file(name, PRESETS, lead=f"{OPTION} ")) for name in names]
    # `resume` is a flag on the command line and a value in files.
    options = ["--resume=true" if option == "--resume" else option for option in options]
    records = {file: read_yaml(Path(file)) for file in files}
    sources = {f"{OPTION} {file}": values for file, values in records.items()}
    kinds = named_kinds({**sources, "": _kinds_of_options(options)})
    parser = _parser_of_options(settings_of(kinds))
    file_options = [f"{OPTION}={text}" for text in _without_replaced_settings(records, kinds)]
    for file, values in records.items():
        _check_file(values, kinds, options, where=Path(file))
    note = f" (read: {', '.join(files)})" if files else ""
    config = _run_config(
        parse(parser, [*file_options, *options], command="python -m models.train", note=note)
    )
    # Checked here and not in RunConfig, because a trained model is loaded without its loss.
    known_kind(LOSSES, config.train.loss, key="train.loss")
    known_kind(OBJECTIVES, config.train.objective, key="train.objective")
    return config


def make_parser(prog: str = PROG, *, kinds: KindNames | None = None) -> ArgumentParser:
    """The parser of a run's options. Unknown keys are errors, in files and on the command line.

    Args:
        prog: the command, for its help.
        kinds: kinds whose settings the parser accepts (`named_kinds`); None for the default ones.
    """
    return _new_parser(prog, settings_of(kinds or named_kinds({})))


def _new_parser(prog: str, typed: type[RunConfig]) -> ArgumentParser:
    described = f"presets, recipes and overlays for --config:\n{described_files(PRESETS)}"
    parser = new_parser(
        prog=prog,
        usage=f"{prog} --data DATASET --output RUN [--config PRESET …] [--KEY VALUE …]",
        description=ABOUT,
        epilog=f"{described}\n\n{listed(EXAMPLES)}\n\n{EXIT_STATUSES}",
    )
    parser.add_argument(
        "--config", action="config", help="preset, recipe, overlay or YAML file; can be repeated"
    )
    _add_settings(parser, typed)
    # The format number in a run's config.yaml.
    parser.add_argument("--format", type=int, default=FORMATS["run"], help=SUPPRESS)
    return parser


# Parsers are kept, because building takes as long as parsing, and parsing leaves them unchanged.
@lru_cache(maxsize=16)
def _parser_of_options(typed: type[RunConfig]) -> ArgumentParser:
    return _new_parser(PROG, typed)


@lru_cache(maxsize=16)
def _parser_of_values(typed: type[RunConfig]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    _add_settings(parser, typed)
    return parser


def _add_settings(parser: ArgumentParser, typed: type[RunConfig]) -> None:
    has_items = any(
        setting.name == "items" and setting.type is not Any for setting in fields(typed)
    )
    parser.add_class_arguments(typed, skip=set() if has_items else {"items"})


def load_run_config(path: Path) -> RunConfig:
    """Reads a `RunConfig` from a run's config.yaml, written by this or an older version.

    Raises:
        UserError: if the file is invalid; the message names the file and the key.
    """
    values = migrate(read_yaml(path), "run", where=path)
    if not values:
        raise UserError(
            f"{path}: the file is empty; expected the settings of a run, which training writes; restore the file"
        )
    typed = settings_of(named_kinds({str(path): values}))
    refuse_other_shape(values, typed, where=path)
    parser = _parser_of_values(typed)
    try:
        # The dataclasses have the same defaults, and the parser takes twice as long with them.
        parsed = parser.parse_object(values, defaults=False)
        return untrusting(_run_config(parser.instantiate(parsed)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # the parser raises many types for invalid keys and values
        raise UserError(
            f"{path}: not the settings of a run ({told_clearly(error, '')}); correct the file, or train again"
        ) from None


def save_run_config(config: RunConfig) -> str:
    """The resolved config as YAML, which `--config` can read."""
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


def _run_config(parsed: Namespace) -> RunConfig:
    values: dict[str, Any] = parsed.as_dict()
    values.pop("config", None)
    migrate({"format": values.pop("format", 0)}, "run", where=Path("--config"))
    for section in _BY_KIND:
        kinds, _ = KINDS[f"{section}.kind"]
        settings = vars(values[section])
        values[section] = kinds[settings["kind"]].settings(**settings)
    return RunConfig(**values)


def named_kinds(records: Mapping[str, Mapping[str, Any]]) -> KindNames:
    """The names of the kinds that settings select, or the defaults; later records override earlier ones.

    Args:
        records: settings by origin, which messages state; keys can be nested or written with dots.

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
        UserError: if the name is not registered; the message lists the registered ones.
    """
    known, _ = KINDS[key]
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"{where}{': ' if where else ''}{key} is {name!r}; known: {', '.join(known)}. To use your own kind, import "
            "the module that registers it first"
        )


def settings_of(kinds: KindNames) -> type:
    """`RunConfig` with the settings of these kinds: one class for the same settings and registered names."""
    sections: list[tuple[str, type, tuple[str, ...]]] = []
    for section in _BY_KIND:
        known, _ = KINDS[f"{section}.kind"]
        name = kinds[f"{section}.kind"]
        sections.append((section, known[name].settings, (name, *known)))
    own = ITEMS[kinds["item"]]
    items = own.settings if own.section == "items" else None
    return _typed(tuple(sections), items, (kinds["item"], *ITEMS))


@lru_cache(maxsize=16)
def _typed(
    sections: tuple[tuple[str, type, tuple[str, ...]], ...],
    items: type | None,
    item_names: tuple[str, ...],
) -> type[RunConfig]:
    """`RunConfig` with typed sections.

    Args:
        sections: name, settings and names of the kinds of each section; the first name is the default.
        items: settings of the item encoder; None if it has none in the section `items`.
        item_names: names of the item encoders; the first is the default.
    """
    default, *known = item_names
    parts = {section: _with_choices(settings, names) for section, settings, names in sections}
    parts |= {} if items is None else {"items": items}
    typed = make_dataclass(
        "RunConfig",
        [
            ("item", Literal[tuple(known)], default),
            *((name, part, field(default_factory=part)) for name, part in parts.items()),
        ],
        bases=(RunConfig,),
    )
    typed.__doc__ = RunConfig.__doc__
    return typed


def _with_choices(settings: type, names: tuple[str, ...]) -> type:
    """Settings whose `kind` is one of the names after the first, which is the default."""
    default, *known = names
    kind: tuple[str, Any, Any] = ("kind", Literal[tuple(known)], default)
    typed = make_dataclass(settings.__name__, [kind], bases=(settings,))
    typed.__doc__ = settings.__doc__
    return typed


def _value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a key, nested or written with dots; None if it is missing."""
    section, _, leaf = key.partition(".")
    if key in values or not leaf:
        return values.get(key)
    inner = values.get(section)
    return inner.get(leaf) if isinstance(inner, dict) else getattr(inner, leaf, None)


def _kinds_of_options(arguments: list[str]) -> dict[str, Any]:
    """The kinds that the options of a command line set, by key."""
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        key = option.removeprefix("--")
        if key in KINDS:
            values[key] = value if equals else next(rest, "")
        elif f"{key}.kind" in KINDS:  # a whole section, as inline YAML or the name of a file
            text = value if equals else next(rest, "")
            values[f"{key}.kind"] = _kind_inside(text)
    return values


def _kind_inside(text: str) -> Any:
    """The kind in a section, which is inline YAML or the name of a file; None if it names no kind."""
    try:
        section = read_yaml(Path(text)) if Path(text).is_file() else yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # the parser reports it
    return section.get("kind") if isinstance(section, dict) else None


def _without_replaced_settings(
    records: Mapping[str, dict[str, Any]], kinds: KindNames
) -> Iterator[str]:
    """The files without the settings of kinds that later files or the command line replace.

    A recipe such as `paper` has settings of SASRec, which another sequence encoder does not know. These settings are
    removed from the records and listed on stderr.

    Yields:
        Per file, a value for `--config`: the file name, or the remaining settings as YAML.
    """
    kinds_so_far = named_kinds({})
    for file, values in records.items():
        kinds_so_far |= {
            key: name for key, name in named_kinds({file: values}).items() if _value(values, key)
        }
        replaced = [
            f"{section}.{key}"
            for section in ("items", *_BY_KIND)
            for key in _replaced_keys(values.get(section), section, kinds_so_far, kinds)
        ]
        for key in replaced:
            section, _, leaf = key.partition(".")
            del values[section][leaf]
            if not values[section]:
                del values[section]
        if replaced:
            print(
                f"{file}: {', '.join(replaced)}: ignored, because this run uses another kind",
                file=sys.stderr,
            )
        yield yaml.safe_dump(values) if replaced else file


def _replaced_keys(values: Any, section: str, old: KindNames, new: KindNames) -> list[str]:
    """Keys of a section that are settings of the old kind but not of the new one."""
    if not isinstance(values, dict):
        return []
    removed = _keys_of(section, old) - _keys_of(section, new)
    return [key for key in values if key in removed]


def _keys_of(section: str, kinds: KindNames) -> set[str]:
    """Keys that a section has for these kinds."""
    key = "item" if section == "items" else f"{section}.kind"
    kind = KINDS[key][0][kinds[key]]
    own = kind.settings is not None and getattr(kind, "section", section) == section
    return {part.name for part in fields(kind.settings)} if own else set()


def _check_file(
    values: dict[str, Any], kinds: KindNames, options: list[str], *, where: Path
) -> None:
    """Refuses a file that does not contain settings, and one that would run code or call a server.

    Raises:
        UserError: if the file has an unknown key or another shape, or if it would do what the command line does not allow.
    """
    refuse_other_shape(
        {key: value for key, value in values.items() if key != "format"},
        settings_of(kinds),
        where=where,
    )
    _refuse_remote_code(values, settings_of(kinds), options, where=where)
    refuse_remote_trackers(values, options, where=where)


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
