"""The model card of VL-FAU: what it is, what it was trained on, how well it does, and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.facial.config import FaceConfig
from models.facial.pretrained import CARD
from models.facial.trained import TrainedFaces
from models.runs.folder import MODEL
from models.runs.markdown import code, plain, table
from toolkit.atomic import write_atomically
from toolkit.facs import column

RECONSTRUCTION = """This model is a **reconstruction** of VL-FAU (arXiv 2408.00644), whose authors published no code. What the paper
leaves open was chosen here: how the stem combines the stages of the backbone, both attentions of the refinement
(those of CBAM), the decoders (small GPT-2 networks with cross-attention), and equal weights of the losses. Results
are not those of the paper."""
_TOLD = "share of the training faces whose texts were conditioned on states"
_USE = """```python
from models.facial import from_pretrained, predict

predict("face.jpg", "{run}")  # a row per face and frame; columns AU01_p, AU01_c, ...
```"""


def write_card(
    run: Path, trained: TrainedFaces, config: FaceConfig, report: Mapping[str, Any]
) -> None:
    """Writes the card into the model folder.

    Args:
        run: run folder.
        trained: the network and what is recorded of it.
        config: of the run.
        report: of its test; empty without one.
    """
    sections = [
        f"# VL-FAU: facial action units {', '.join(map(str, trained.aus))}",
        RECONSTRUCTION,
        f"## Use\n\n{_USE.format(run=run.name)}",
        _training(trained, config),
        *([_results(report)] if report else []),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits(trained)),
    ]
    text = "\n\n".join(sections) + "\n"
    write_atomically(run / MODEL / CARD, lambda file: file.write(text.encode()))


def _training(trained: TrainedFaces, config: FaceConfig) -> str:
    record, recipe = trained.record, trained.record.recipe
    backbone = config.backbone.architecture.get("model_type") or config.backbone.name
    grown = f"grown by {recipe.margin:g} of its longer side on each side"
    rows = [
        ["dataset", plain(record.dataset["name"])],
        ["SHA-256 of its faces", code(record.dataset["faces_sha256"])],
        ["fold that was not trained on", str(record.fold)],
        ["training subjects", f"{len(record.seen)}: {plain(', '.join(record.seen))}"],
        ["backbone", code(str(backbone))],
        ["refinement, texts about AUs, texts about faces", ", ".join(_on(x) for x in (config.network.refine, trained.has_au_texts, trained.has_face_texts))],
        [_TOLD, f"{config.network.told_states:g} (0 in the paper)"],
        ["crop of a face", f"box {grown}, {'square' if recipe.square else 'stretched'}, {recipe.size_px} × {recipe.size_px} pixels"],
        ["input", f"the middle {record.view.crop_px} × {record.view.crop_px} pixels of it"],
        ["labels", "shuffled: a control" if config.train.shuffle_labels else "as they are"],
        ["temperatures and thresholds fitted on", record.calibrated_on],
        ["seed", str(config.train.seed)],
    ]  # fmt: skip
    per_au = table(
        ["AU", "training rate", "temperature", "threshold in use", "fitted threshold"],
        [
            [column(au), *(f"{values[index]:.3f}" for values in (record.rates, record.temperatures, record.thresholds, record.fitted_thresholds))]
            for index, au in enumerate(trained.aus)
        ],
    )  # fmt: skip
    return f"## Training\n\n{table(['', ''], rows)}\n\n{per_au}"


def _results(report: Mapping[str, Any]) -> str:
    head = (
        f"{report['faces']:,} faces of {report['subjects']} subjects that were not trained on. F1 at 0.5, pooled over the "
        "faces; intervals are a bootstrap over subjects."
    )
    rows = [["mean", _interval(report["F1"]), *(_shown(report[key]) for key in ("AUC", "ECE", "ECE_calibrated"))]]  # fmt: skip
    rows += [
        [name, _interval(one["F1"]), *(_shown(one[key]) for key in ("AUC", "ECE", "ECE_calibrated"))]
        for name, one in report["per_au"].items()
    ]  # fmt: skip
    parts = [head, table(["AU", "F1", "AUC", "ECE", "ECE, calibrated"], rows)]
    if report["identity"]:
        probe = report["identity"]
        parts.append(
            f"A linear probe tells {probe['subjects']} test subjects apart by the features of {probe['accuracy']:.1%} of the "
            f"faces; chance is {probe['chance']:.1%}."
        )
    parts += [
        f"{name.replace('_', ' ')}: " + ", ".join(f"{key} {_shown(value)}" for key, value in one.items())
        for name, one in report["texts"].items()
    ]  # fmt: skip
    return "## Results\n\n" + "\n\n".join(parts)


def limits(trained: TrainedFaces) -> list[str]:
    """What a user must know of a network, a sentence each."""
    return [
        "Results on the subjects of one fold do not transfer to other datasets; measure these with the command evaluate.",
        "A network of action units also learns who a person is; the identity probe measures how much.",
        "An action unit is a movement of muscles. It is no evidence of an emotion or intention.",
        "The licence of the dataset and the consent of its subjects are not recorded.",
        *(["Texts state what the network recognises in fixed phrases; they can be wrong as it can."] * trained.has_au_texts),
    ]  # fmt: skip


def _interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _on(value: bool) -> str:
    return "yes" if value else "no"
