"""The config of a training run of VL-FAU: typed settings, read from presets, YAML files and the command line."""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from models.facial.losses import AU_LOSSES
from models.machine.precision import Precision
from models.runs.folder import CONFIG
from models.schedule import Schedule
from models.training.remote_trackers import refuse_remote_trackers
from toolkit.arguments import refuse_below, refuse_no_seed
from toolkit.console.command_help import listed
from toolkit.console.config_help import told_clearly
from toolkit.console.named_files import described_files, named_file
from toolkit.console.parsing import new_parser, parse
from toolkit.console.terminal import EXIT_STATUSES
from toolkit.errors import UserError
from toolkit.settings import OPTION, refuse_other_shape, split_files
from toolkit.yaml_files import read_yaml

PRESETS = Path(__file__).parents[1] / "configs" / "facial"
FORMAT = 1  # of config.yaml
PROG = "accelerate launch -m models.facial.train"
ABOUT = """Trains VL-FAU, which recognises and describes facial action units (AUs), on a
dataset that `prep faces` wrote, and tests it on the subjects of one fold.

Reads DATASET and writes config.yaml, log.jsonl, checkpoints/, model/, faces/ and
metrics/test.json to RUN. --config accepts presets and YAML files. Later files
override earlier ones, and options on the command line override all files.
--json prints the test metrics as JSON and nothing else on stdout. --quiet
prints neither progress nor results."""
EXAMPLES = (
    "accelerate launch -m models.facial.train --data faces-dataset --fold 1 --output runs/f1",
    "python -m models.facial.train --config vl-fau-tiny --data faces-dataset --output runs/tiny",
    "python -m models.facial.train --config vl-fau-tiny --data faces-dataset --output runs/stem \\\n"
    "      --network.refine false --network.au_texts false --network.face_texts false",
)


@dataclass
class ViewConfig:
    """How a picture becomes the input of the network.

    Args:
        resize_px: side to which a picture is resized.
        crop_px: side of the crop that the network reads: at random in training, else in the middle.
        flip: whether half of the pictures are mirrored in training.
        jitter: brightness, contrast and saturation change by factors in [1 - jitter, 1 + jitter] in training.
        margin: growth of a detected face on each side before prediction, as a fraction of the longer side of its box. It
            should equal the margin of the pictures of the dataset.
        square: whether the shorter side of such a box, and of a picture that is not square, grows to the longer one;
            otherwise it is stretched.
    """

    resize_px: int = 256
    crop_px: int = 224
    flip: bool = True
    jitter: float = 0.4
    margin: float = 0.2
    square: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px:
            raise UserError(
                f"view.crop_px is {self.crop_px} and view.resize_px {self.resize_px}; expected crop_px from 1 to resize_px"
            )
        if not 0 <= self.jitter < 1 or self.margin < 0:
            raise UserError(
                f"view.jitter is {self.jitter} and view.margin {self.margin}; expected jitter in [0, 1) and margin from 0"
            )


@dataclass
class BackboneConfig:
    """The hierarchical network below the stem.

    Args:
        name: folder, `package:NAME/SUBFOLDER` or hub name of a pretrained network with stages, such as Swin.
        revision: hub revision to pin.
        architecture: a network with new weights in place of `name`: `model_type` and other keys of a configuration of
            transformers.
    """

    name: str = "microsoft/swin-base-patch4-window7-224"
    revision: str | None = None
    architecture: dict[str, bool | int | float | str | list[int]] = field(default_factory=dict)


@dataclass
class NetworkConfig:
    """The network above the backbone. Ablations: `refine`, `au_texts` and `face_texts`.

    Args:
        width: channels of the stem and of the features of an AU.
        grid_stage: stage of the backbone, from 1, whose grid the maps have.
        refine: whether each AU has its own refinement.
        reduction: width divided by the inner width of the channel attention.
        kernel: width of the kernel of the spatial attention, in cells.
        au_texts: whether the network describes each AU.
        face_texts: whether the network describes the face.
        shared_decoder: whether all AUs share one decoder of texts.
        decoder_layers: layers of a decoder.
        decoder_heads: attention heads of a decoder.
        decoder_dropout: dropout probability in a decoder.
        au_loss: classification loss, `asymmetric` or `bce-dice`.
        au_texts_weight: weight of the loss of the texts about AUs.
        face_texts_weight: weight of the loss of the texts about faces.
        told_states: share of the training faces whose texts are conditioned on the states of the AUs. Above 0, the
            predicted states condition generated texts, so that these agree with the predictions.
        text_share: share of the faces of a training batch whose texts are learned.
    """

    width: int = 256
    grid_stage: int = 3
    refine: bool = True
    reduction: int = 16
    kernel: int = 7
    au_texts: bool = True
    face_texts: bool = True
    shared_decoder: bool = False
    decoder_layers: int = 2
    decoder_heads: int = 4
    decoder_dropout: float = 0.1
    au_loss: str = "asymmetric"
    au_texts_weight: float = 1.0
    face_texts_weight: float = 1.0
    told_states: float = 0.0
    text_share: float = 1.0

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("width", "grid_stage", "reduction", "kernel"), 1),
            **dict.fromkeys(("decoder_layers", "decoder_heads"), 1),
            **dict.fromkeys(("au_texts_weight", "face_texts_weight"), 0),
        }
        refuse_below(least, vars(self), lead="network.")
        if self.au_loss not in AU_LOSSES:
            raise UserError(f"network.au_loss is {self.au_loss!r}; known: {', '.join(AU_LOSSES)}")
        if not (0 <= self.told_states <= 1 and 0 < self.text_share <= 1):
            raise UserError(
                f"network.told_states is {self.told_states} and network.text_share {self.text_share}; expected told_states "
                "in [0, 1] and text_share in (0, 1]"
            )


@dataclass
class RatesConfig:
    """Learning rates by parameter group.

    Args:
        backbone: the backbone.
        base: all other parameters.
    """

    backbone: float = 1e-4
    base: float = 1e-4

    def __post_init__(self) -> None:
        refuse_below({"backbone": 0, "base": 0}, vars(self), lead="train.rates.")


@dataclass
class FaceTrainConfig:
    """The training loop.

    Args:
        epochs: number of epochs.
        batch_size: faces per step and process.
        accumulation: steps per update of the weights. The launcher's setting overrides it.
        valid_subjects: share of the training subjects that are held out: they select the epoch, and temperatures and
            thresholds are fitted on them. 0 keeps the last epoch, and fits on the faces that were trained on.
        test: whether the kept epoch is tested at the end; `python -m models.facial evaluate` tests it later.
        thresholds: probability from which an AU counts as active in predictions: `half` is 0.5, as in published results;
            `fitted` is fitted per AU. Reports have the F1 of both.
        seed: seed of initial weights, order, augmentation and dropout.
        shuffle_labels: trains on labels that are permuted among the training faces: a control, which must stay at chance.
        weight_decay: weight decay of AdamW, for matrices.
        schedule: learning rates after warm-up: `constant`, `cosine` or `linear`.
        warmup_updates: updates over which learning rates rise linearly from 0.
        clip_norm: maximum gradient norm; 0 disables clipping.
        mixed_precision: `no`, `bf16`, or `fp16` (on a GPU). The launcher's setting overrides it.
        workers: threads of each process that decode pictures ahead of the step; 0 divides the CPU cores of the machine
            among the run's processes there. Results do not depend on it.
        log_every_steps: steps between entries in log.jsonl.
        trackers: trackers that also receive these entries (`models.train`).
        checkpoint_every_steps: steps between checkpoints; 0 writes one per epoch.
        keep_checkpoints: number of newest checkpoints to keep.
        beams: beams of generated texts; 1 is greedy search.
        rates: learning rates.
    """

    epochs: int = 20
    batch_size: int = 64
    accumulation: int = 1
    valid_subjects: float = 0.0
    test: bool = True
    thresholds: Literal["half", "fitted"] = "half"
    seed: int = 1
    shuffle_labels: bool = False
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    warmup_updates: int = 0
    clip_norm: float = 0.0
    mixed_precision: Precision = "no"
    workers: int = 0
    log_every_steps: int = 50
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    beams: int = 1
    rates: RatesConfig = field(default_factory=RatesConfig)

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("epochs", "batch_size", "accumulation", "beams"), 1),
            **dict.fromkeys(("log_every_steps", "keep_checkpoints"), 1),
            **dict.fromkeys(("weight_decay", "warmup_updates", "clip_norm"), 0),
            **dict.fromkeys(("workers", "checkpoint_every_steps"), 0),
        }
        refuse_below(least, vars(self), lead="train.")
        refuse_no_seed(vars(self), "seed", lead="train.")
        if not 0 <= self.valid_subjects < 1:
            raise UserError(f"train.valid_subjects is {self.valid_subjects}; it must be in [0, 1)")


@dataclass
class FaceConfig:
    """A training run of VL-FAU.

    Args:
        data: dataset that `prep faces` wrote.
        output: run folder to create; must be absent or empty, except with `resume`.
        fold: fold whose subjects are tested, from 1; the subjects of the others are trained on.
        resume: continue from the newest checkpoint in `output`.
        facs: YAML file with the names and phrases of AUs in another language (`toolkit.facs`); empty for English.
        view: how a picture becomes the input.
        backbone: network below the stem.
        network: network above it.
        train: training loop.
    """

    data: str
    output: str
    fold: int = 1
    resume: bool = False
    facs: str = ""
    view: ViewConfig = field(default_factory=ViewConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: FaceTrainConfig = field(default_factory=FaceTrainConfig)


def parse_face_config(arguments: list[str] | None = None) -> FaceConfig:
    """Reads a `FaceConfig` from command-line arguments.

    Raises:
        UserError: if a key is unknown, a value is invalid, or a file cannot be read.
    """
    names, options = split_files(sys.argv[1:] if arguments is None else arguments)
    files = [named_file(name, PRESETS, lead=f"{OPTION} ") for name in names]
    for file in files:
        values = read_yaml(file)
        refuse_other_shape(
            {key: value for key, value in values.items() if key != "format"}, FaceConfig, where=file
        )
        refuse_remote_trackers(values, options, where=file)
    options = ["--resume=true" if option == "--resume" else option for option in options]
    file_options = [f"{OPTION}={file}" for file in files]
    return _config_of(
        parse(make_parser(), [*file_options, *options], command="python -m models.facial.train")
    )


def make_parser(prog: str = PROG) -> ArgumentParser:
    """The parser of a run's options. Unknown keys are errors, in files and on the command line."""
    described = f"presets for --config:\n{described_files(PRESETS)}"
    parser = new_parser(
        prog=prog,
        usage=f"{prog} --data DATASET --output RUN [--fold N] [--config PRESET …] [--KEY VALUE …]",
        description=ABOUT,
        epilog=f"{described}\n\n{listed(EXAMPLES)}\n\n{EXIT_STATUSES}",
    )
    _add_settings(parser)
    return parser


def read_face_config(run: Path) -> FaceConfig:
    """The config of a run.

    Raises:
        UserError: if the folder is not a run of faces, or its config.yaml is damaged.
    """
    path = run / CONFIG
    if not path.is_file():
        raise UserError(
            f"{run}: not a run folder, because it has no {CONFIG}; pass a folder that models.facial.train wrote"
        )
    values = read_yaml(path)
    parser = ArgumentParser(exit_on_error=False)
    _add_settings(parser)
    try:
        if values.get("format") != FORMAT:
            raise UserError(f"format {values.get('format')!r}, expected {FORMAT}")
        refuse_other_shape(
            {key: value for key, value in values.items() if key != "format"}, FaceConfig, where=path
        )
        return _config_of(parser.instantiate(parser.parse_object(values)))
    except Exception as error:  # the parser raises many types for invalid keys and values
        raise UserError(
            f"{path}: not the settings of a run of models.facial.train ({told_clearly(error, '')}); pass another run"
        ) from None


def save_face_config(config: FaceConfig) -> str:
    """The config as YAML, which `--config` can read."""
    return yaml.safe_dump({"format": FORMAT, **asdict(config)}, sort_keys=False)


def _add_settings(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action="config", help="preset or YAML file; can be repeated")
    parser.add_class_arguments(FaceConfig)
    parser.add_argument("--format", type=int, default=FORMAT, help=SUPPRESS)


def _config_of(parsed: Namespace) -> FaceConfig:
    values: dict[str, Any] = parsed.as_dict()
    del values["format"]
    values.pop("config", None)
    return FaceConfig(**values)
