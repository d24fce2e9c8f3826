"""Token states: the library's own without padding, checked, estimated, and refused where there is no room."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import prep
import prep.towers.tokens
from prep import EncodeConfig, MediaConfig, PrepConfig
from prep.steps.pipeline import errors_of
from toolkit import UserError, open_dataset
from toolkit.store import Table, read_file

ITEM_COUNT, EMPTY = 20, 5


@pytest.fixture
def dataset(write_microlens: Callable[..., Path], tmp_path: Path) -> Path:
    """Titles of growing length; the title of item 5 is empty."""
    numbers = range(1, ITEM_COUNT + 1)
    titles = "".join(f"i{n:02},{'' if n == EMPTY else 'a b ' * n}\n" for n in numbers)
    items = " ".join(f"i{n:02}" for n in numbers)
    dump = write_microlens(titles=f"item,title\n{titles}", pairs_tsv=f"u\t{items}\n")
    prep.ingest(dump, tmp_path / "data")
    return tmp_path / "data"


def settings(encoder: Path, **more: Any) -> PrepConfig:
    title = EncodeConfig(str(encoder), pooling="mean", tokens=2, **more)
    return PrepConfig(media=MediaConfig(workers=1), encode={"title": title})


def test_tokens_are_the_library_s_own_without_padding(dataset: Path, tiny_bert: Path) -> None:
    prep.encode(dataset, settings(tiny_bert, max_tokens=12))
    data = open_dataset(dataset)
    table = data.token_table("title")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = AutoModel.from_pretrained(tiny_bert).eval()
    numbers = list(range(ITEM_COUNT + 1))
    for number, states in zip(numbers, table.read(numbers), strict=True):
        if number in (0, EMPTY):
            assert states is None
            continue
        text = data.items["title"][number - 1].as_py()
        inputs = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs, output_hidden_states=True).hidden_states[2][0]
        assert isinstance(states, torch.Tensor) and states.dtype == torch.float16
        assert states.shape == (min(2 * number + 2, 12), 16) == expected.shape
        assert torch.allclose(states.float(), expected, rtol=2**-11 + 1e-5, atol=2e-6)
    sizes = [min(2 * n + 2, 12) * (n != EMPTY) for n in range(1, ITEM_COUNT + 1)]
    assert table.lengths().tolist() == [0, *sizes]
    assert table.nbytes == sum(sizes) * 16 * 2  # disk holds real tokens alone
    (row,) = errors_of(dataset, "tokens:title").to_pylist()
    assert (row["item_id"], row["error_class"]) == (f"i{EMPTY:02}", "empty")
    metadata = data.tokens_metadata("title")
    assert (metadata["layer"], metadata["width"], metadata["dtype"]) == ("2", "16", "float16")
    recorded = data.tokens_settings("title")
    assert (recorded["layer"], recorded["max_tokens"], recorded["lowercase"]) == (2, 12, True)
    assert recorded["revision"].startswith("sha256:") and "pooling" not in recorded
    step = data.manifest["steps"]["tokens:title"]
    assert step["config"]["tokens"] == 2 and step["items"] == {"ok": 19, "empty": 1}
    assert prep.check(dataset) == []


def test_a_rerun_adds_nothing_and_other_settings_are_refused(
    dataset: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prep.encode(dataset, settings(tiny_bert))
    before = {path: path.read_bytes() for path in (dataset / "tokens/title").iterdir()}
    prep.encode(dataset)  # the recorded settings
    assert "tokens:title: 0 of 20 items done now" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in (dataset / "tokens/title").iterdir()}
    title = EncodeConfig(str(tiny_bert), pooling="mean", tokens=1)
    with pytest.raises(UserError, match=r"layer = 2, and now layer = 1 .*delete .*tokens/title"):
        prep.encode(dataset, PrepConfig(encode={"title": title}))
    with pytest.raises(UserError, match=r"after layer 3 .* 3 layers; choose from 1 to 2"):
        prep.encode(dataset, PrepConfig(encode={"more": EncodeConfig(str(tiny_bert), tokens=3)}))
    assert open_dataset(dataset).towers() == ["title"]  # before anything is encoded


def test_no_room_is_refused_with_the_size(
    dataset: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(prep.towers.tokens.shutil, "disk_usage", lambda path: usage(9_000))
    message = r"'title': token states of 20 items need about 0.00 GiB, and 0.00 GiB are free"
    with pytest.raises(UserError, match=message):
        prep.encode(dataset, settings(tiny_bert))
    assert not (dataset / "tokens").exists()
    monkeypatch.setattr(prep.towers.tokens.shutil, "disk_usage", lambda path: usage(18_000))
    prep.encode(dataset, settings(tiny_bert))
    # 2n + 2 tokens up to 30, of 16 values in 2 bytes
    tokens = sum(min(2 * n + 2, 30) * (n != EMPTY) for n in range(1, ITEM_COUNT + 1))
    assert 9_000 < tokens * 16 * 2 < 18_000


def test_damage_is_found(dataset: Path, tiny_bert: Path) -> None:
    prep.encode(dataset, settings(tiny_bert))
    path = dataset / "tokens/title/part-00000.arrow"
    whole = path.read_bytes()
    path.write_bytes(
        whole.replace(bytes(read_file(path)["tokens"].chunk(0).values.buffers()[1][:32]), bytes(32))
    )
    (reason,) = prep.check(dataset)
    assert "tokens/title/part-00000.arrow is damaged" in reason
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="not a readable Arrow file"):
        open_dataset(dataset).token_table("title")
    path.unlink()
    assert any("tokens/title" in reason for reason in prep.check(dataset))


def test_broken_lengths_and_foreign_rows_are_refused(dataset: Path, tiny_bert: Path) -> None:
    prep.encode(dataset, settings(tiny_bert))
    table = Table(dataset / "tokens/title", compression=None)
    stored = table.read()
    rows = stored["tokens"].to_pylist()
    rows[3] = rows[3][:-1]
    for column, values in {
        "tokens": pa.array(rows, stored.schema.field("tokens").type),
        "item": pa.array(range(2, ITEM_COUNT + 2), pa.int32()),
    }.items():
        field = stored.schema.field(column)
        wrong = stored.set_column(stored.schema.get_field_index(column), field, values)
        table.replace(0, wrong)
        data = open_dataset(dataset)
        data._checksums = {}
        with pytest.raises(UserError, match=r"lengths .* are broken|item numbers above 20"):
            data.token_table("title")


def test_values_beyond_float16_are_stored_in_bfloat16(
    dataset: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    model = AutoModel.from_pretrained(tiny_bert)
    with torch.no_grad():
        model.encoder.layer[1].output.LayerNorm.weight.mul_(1e5)
    shutil.copytree(tiny_bert, tmp_path / "large")
    model.save_pretrained(tmp_path / "large")
    prep.encode(dataset, settings(tmp_path / "large"))
    table = open_dataset(dataset).token_table("title")
    (states,) = table.read([1])
    assert isinstance(states, torch.Tensor) and states.dtype == torch.bfloat16
    assert float(states.abs().max()) > 65504
    assert prep.check(dataset) == []


def test_tokens_are_estimated(
    synth_dump: Path, tiny_bert: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    encode = {
        "title": EncodeConfig(str(tiny_bert), pooling="mean", tokens=2),
        "frames": EncodeConfig(str(tiny_vit), source="frames", tokens=1),
    }
    config = PrepConfig(media=MediaConfig(workers=1, frame_count=2, frame_px=32), encode=encode)
    steps = {step.step: step for step in prep.estimate(synth_dump, config).steps}
    prep.build(synth_dump, tmp_path / "out", config)
    data = open_dataset(tmp_path / "out")
    for tower in encode:
        estimate = steps[f"tokens:{tower}"]
        size = sum(
            path.stat().st_size for path in (tmp_path / "out/tokens" / tower).glob("*.arrow")
        )
        assert estimate.low_bytes * 0.95 <= size <= estimate.high_bytes * 1.05
        assert estimate.seconds > 0
    (clip,) = data.token_table("frames").read([3])
    assert isinstance(clip, list) and [one.shape for one in clip] == [(5, 16), (5, 16)]
    assert np.unique(data.token_table("frames").lengths()[1:]).tolist() in ([10], [0, 10])
    assert prep.check(tmp_path / "out") == []
