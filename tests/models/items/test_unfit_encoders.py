"""What encoders that train cannot do is refused in a line before a run writes anything; adapted ones keep what they learned."""

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from tiny_dataset import ITEMS, walks, write_dataset
from tiny_encoders import write_model

from models.build import build, make_features
from models.config import parse_run_config
from models.runs.pretrained import from_pretrained, save_pretrained
from models.train import train
from toolkit import UserError, open_dataset, schema
from toolkit.json_files import read_json, write_json
from toolkit.store import Table

Write = Callable[[str], str]
CLIP = 3  # stored frames of a clip


def jpeg(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, 255 - value, 7 * value % 255)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles, covers and clips of three frames."""
    folder = write_dataset(tmp_path_factory.mktemp("raw") / "data", walks(), items=ITEMS)
    images = {f"i{n}": jpeg(4 * n) for n in range(1, ITEMS + 1)}
    covers = [{"item_id": item, "image": image} for item, image in images.items()]
    clips = [{"item_id": item, "frames": [image] * CLIP} for item, image in images.items()]
    tables = {"covers": (covers, schema.COVERS), "frames": (clips, schema.FRAMES)}
    for name, (rows, columns) in tables.items():
        full = [{**dict.fromkeys(columns.names), "status": "ok", **row} for row in rows]
        Table(folder / name).append(pa.Table.from_pylist(full, schema=columns))
    return folder


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    written: dict[str, str] = {}

    def one(family: str) -> str:
        if family not in written:
            written[family] = write_model(tmp_path_factory.mktemp("encoder"), family)
        return written[family]

    return one


def words(data: Path, output: Path | str, tower: str, encoder: str, *more: str) -> list[str]:
    return ["--item=encoders", f"--towers=[{tower}]", f"--encoders.{tower}.encoder={encoder}", f"--data={data}",
            f"--output={output}", "--train.trackers=[]", "--train.epochs=1", "--side.embedding_dim=16",
            f"--encoders.{tower}.pooling=mean", "--sequence.max_len=5", *more]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "tower", "more", "message"),
    [
        ("bert", "title", ["--adapt=lorra"], "adapt 'lorra' is unknown; expected one of frozen"),
        ("bert", "title", ["--adapt=top-3"], "adapt top-3: .* depend on 2 layers.* top-1 to top-2"),
        (
            "llama",
            "title",
            ["--adapt=bitfit"],
            "LlamaModel.* take one of frozen, full, top-K, layer",
        ),
        ("resnet", "cover", ["--adapt=lora"], "lora needs query layers.* take one of frozen, full"),
        (
            "bert",
            "title",
            ["--encoders.title.max_tokens=513"],
            "has 512 positions, and max_tokens is 513; set max_tokens to at most 512",
        ),
        (
            "videomae",
            "frames",
            [],
            "tower 'frames': its encoder reads clips of 4 frames, and the dataset stores 3 of each .* "
            "--media.frame_count 4",
        ),
        (
            "videomae",
            "cover",
            [],
            "reads clips of 4 frames, and its source is cover; set --encoders",
        ),
    ],
)
def test_an_unfit_encoder_is_refused_in_a_line_before_the_run(
    family: str, tower: str, more: list[str], message: str, data: Path, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        train(parse_run_config(words(data, tmp_path / "run", tower, write(family), *more)))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_the_recorded_number_of_frames_counts(data: Path, write: Write, tmp_path: Path) -> None:
    """MCG-NJU/VideoMAE, issue 58: clips of another length than the encoder's."""
    named = Path(str(data) + "-5")
    for part in data.iterdir():
        target = named / part.name
        named.mkdir(exist_ok=True)
        target.symlink_to(part)
    record = read_json(data / "dataset.json")
    (named / "dataset.json").unlink()
    write_json(
        named / "dataset.json", {**record, "steps": {"frames": {"config": {"frame_count": 5}}}}
    )
    config = parse_run_config(words(named, "out", "frames", write("videomae")))
    dataset = open_dataset(named)
    model = build(config, dataset)
    features = make_features(config, dataset, item_encoder=model.item_encoder)
    given = features.gather(torch.tensor([1, 2]))  # of three frames each: missing
    assert torch.isfinite(model.item_encoder(given)).all()
    assert features.broken == {"frames": {1, 2}}  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix", "layernorm"])
def test_what_an_adapted_encoder_learned_is_there_after_loading(
    method: str, data: Path, write: Write, tmp_path: Path
) -> None:
    """huggingface/peft, issues 1607 and 1689: outputs differed after saving and loading."""
    config = parse_run_config(words(data, "out", "title", write("bert"), f"--adapt={method}"))
    dataset = open_dataset(data)
    torch.manual_seed(0)
    model = build(config, dataset)
    features = make_features(config, dataset, item_encoder=model.item_encoder)
    given = features.gather(torch.arange(1, 9))
    before = model.item_encoder(given).detach()
    trains = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.Adam(trains, lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model.item_encoder(given).square().sum().backward()
        optimizer.step()
    trained = model.eval().item_encoder(given)
    assert not torch.allclose(trained, before, atol=1e-3)
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path, encoders={"title": write("bert")}).eval()
    torch.testing.assert_close(loaded.item_encoder(given), trained, atol=1e-6, rtol=0)
    kept = (tmp_path / "model.safetensors").stat().st_size
    assert kept < 4.5 * sum(x.numel() for x in trains) + 20_000  # float32, and the names
