"""A run initialised with the public code's weights (`--init_from`)."""

from pathlib import Path

import pytest
import torch
from public_iisan import as_uncached, public_weights, slow_items
from safetensors.torch import save_file
from torch import Tensor

from models import Recommender, from_pretrained
from models.build import build
from models.config import RunConfig, parse_run_config
from models.train import train
from models.transfer.initial import InitialWeights
from toolkit import Dataset, TowerSpec, UserError, open_dataset

TITLE, COVER = (3, 16), (4, 24)  # the tiny dataset's towers: kept states, width
SAME = [
    "--side.embedding_dim=16",
    "--side.bottlenecks={title: 5, cover: 7}",
]  # as public_weights has


def config(data: Path, weights: Path | str, *more: str) -> RunConfig:
    return parse_run_config(
        [
            "--config=raw-image",
            "--data",
            str(data),
            "--output=unused",
            f"--init_from={weights}",
            *SAME,
            *more,
        ]
    )


def of(data: Path, weights: Path | str, *more: str) -> Recommender:
    return begun(config(data, weights, *more), open_dataset(data))


def begun(config: RunConfig, data: Dataset) -> Recommender:
    return build(config, data, begin=InitialWeights(config.init_from, config.initial_parts))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = public_weights(TITLE, COVER)
    torch.save(
        {"model_state_dict": state, "rng_state": torch.get_rng_state()}, tmp_path / "epoch-3.pt"
    )
    save_file(state, tmp_path / "epoch-3.safetensors")
    return tmp_path / "epoch-3.pt"


def states() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(6, *shape, generator=generator)
        for name, shape in (("title", TITLE), ("cover", COVER))
    }


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_run_begins_with_the_public_weights(dataset: Path, checkpoint: Path, suffix: str) -> None:
    model = of(dataset, checkpoint.with_suffix(suffix))
    here = states()
    slow = slow_items(public_weights(TITLE, COVER), {"text": here["title"], "image": here["cover"]})
    torch.testing.assert_close(model.encode_items(here), slow)


def test_heads_as_wide_as_their_tower_continue_too(dataset: Path, tmp_path: Path) -> None:
    weights = public_weights(TITLE, COVER, wide_heads=True)
    torch.save(as_uncached(weights), tmp_path / "uncached.pt")
    with pytest.warns(UserWarning, match="frozen encoders are ignored"):
        model = of(dataset, tmp_path / "uncached.pt", "--side.wide_heads=true")
    here = states()
    slow = slow_items(weights, {"text": here["title"], "image": here["cover"]})
    torch.testing.assert_close(model.encode_items(here), slow)


def test_training_goes_on_from_them(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    still = [f"--train.rates.{group}=0" for group in ("base", "side_block", "image_head", "image_gate", "text_head")]  # fmt: skip
    run = config(dataset, checkpoint, *still, "--train.epochs=1")
    run.output = str(tmp_path / "run")
    train(run)  # at rates of 0, what is saved is what it began with
    saved = from_pretrained(tmp_path / "run" / "model").state_dict()
    began = of(dataset, checkpoint).state_dict()
    assert saved.keys() == began.keys()
    assert all(torch.equal(saved[name], began[name]) for name in began)


def test_without_them_nothing_changes(dataset: Path, checkpoint: Path) -> None:
    fresh = config(dataset, checkpoint)
    fresh.init_from = ""
    draws = []
    for one in (fresh, config(dataset, checkpoint)):
        torch.manual_seed(7)
        begun(one, open_dataset(dataset))
        draws.append(torch.rand(3))
    assert torch.equal(*draws)  # the weights draw no random numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--side.embedding_dim=32"], r"has shape \(16, 16\), expected \(32, 16\); set the --side and --sequence"),
        (["--side.wide_heads=true"], r"fc_bert\.weight' has shape \(16, 16\)|fc_cv\.weight' has shape \(16, 24\), expected \(24, 24\)"),
        (["--side.parts=intra"], r"network lacks: \['mm_encoder\.fc_mm\.bias'"),
        (["--sequence.blocks=1"], r"network lacks: \['user_encoder\.transformer_encoder\.transformer_blocks\.1"),
        (["--sequence.max_len=5"], r"position_embedding\.weight' has shape \(10, 16\), expected \(5, 16\)"),
        (["--towers=[cover, title]"], r"a text and an image tower, in this order, but this run's towers are \['cover', 'title'\]"),
        (["--towers=[title]", "--side.bottlenecks={}"], r"this run's towers are \['title'\]"),
        (["--fusion.kind=sum"], "uses another fusion; set --fusion.kind concat"),
        (["--item=id"], "a side network and a SASRec, which this run does not have"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    dataset: Path, checkpoint: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        of(dataset, checkpoint, *options)
    assert "epoch-3.pt" in str(error.value)


def test_towers_with_stages_have_parameters_that_no_public_weights_fill(
    dataset: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_dataset(dataset)
    stages = {
        "title": TowerSpec("title", *TITLE),
        "cover": TowerSpec("cover", *COVER, "image", (6, 12, 24, 24)),
    }
    monkeypatch.setattr(type(data), "tower", lambda self, name: stages[name])
    with pytest.raises(
        UserError, match=r"no values for 'item_encoder\.widenings\.cover.* and 3 more"
    ):
        begun(config(dataset, checkpoint), data)


class Unwelcome:
    def __reduce__(self) -> tuple:
        return print, ("executed",)


def test_what_is_no_file_of_weights_is_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"absent\.pt: no such file"):
        of(dataset, tmp_path / "absent.pt")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("these are no weights")
        with pytest.raises(UserError, match=f"{name}: cannot be read as weights"):
            of(dataset, tmp_path / name)
    torch.save({"model_state_dict": {}, "args": Unwelcome()}, tmp_path / "code.pt")
    with pytest.raises(UserError, match=r"code\.pt: cannot be read as weights"):
        of(dataset, tmp_path / "code.pt")
    assert "executed" not in capsys.readouterr().out
    torch.save(torch.zeros(3), tmp_path / "one.pt")
    with pytest.raises(UserError, match=r"one\.pt: contains a Tensor"):
        of(dataset, tmp_path / "one.pt")


def test_ablations_are_settings_of_a_run(dataset: Path) -> None:
    options = [
        "--side.parts=inter",
        "--side.mixing=sum",
        "--side.dropout=0.2",
        "--side.bottlenecks={inter: 9}",
    ]
    model = of(dataset, "", *options)
    network = model.item_encoder
    assert network.settings() | {"towers": None} == {  # type: ignore[operator]
        "towers": None, "embedding_dim": 16, "bottleneck": {"title": 64, "cover": 64}, "inter_bottleneck": 9,
        "activation": "relu", "dropout": 0.2, "parts": "inter", "mixing": "sum", "wide_heads": False,
        "fusion": {"kind": "concat"},
    }  # fmt: skip
    for wrong, message in (
        ("--side.bottlenecks={face: 9}", r"side\.bottlenecks names unknown towers \['face'\]"),
        ("--side.bottlenecks={title: 0}", "a bottleneck is 0"),
        ("--side.dropout=1", r"side\.dropout is 1"),
        ("--side.parts=neither", "neither"),
    ):
        with pytest.raises(UserError, match=message):
            of(dataset, "", wrong)
    with pytest.raises(UserError, match=r"the run has only \['title'\]"):
        of(dataset, "", "--towers=[title]", "--side.bottlenecks={}", "--side.parts=inter")
