"""`python -m benchmarks.parity` on golden files that are written here from equations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_towers import Sizes
from golden_writer import (
    FORMS,
    Arrays,
    adapter4rec,
    id_plus_modality,
    iisan,
    k_adapter_bert,
    k_adapter_user,
    two_stage,
)

from benchmarks.parity import main

# Files of the kinds that the command knows, of other shapes and seeds than the published ones.
SIZES = Sizes()
FILES: dict[str, Callable[[], Arrays]] = {
    f"adapter4rec_{method}_{tower}": lambda m=method, t=tower: adapter4rec(m, t, SIZES)  # type: ignore[misc]
    for method in (*FORMS, "lora")
    for tower in ("bert", "vit", "user")
}
FILES |= {
    "adapter4rec_kadapter_bert": lambda: k_adapter_bert(SIZES, masked=False),
    "adapter4rec_kadapter_masked_bert": lambda: k_adapter_bert(SIZES, masked=True),
    "adapter4rec_kadapter_causal_user": lambda: k_adapter_user(SIZES),
    "morec_two_stage": lambda: two_stage(SIZES),
    "morec_id_plus_modality_add": lambda: id_plus_modality("add", SIZES),
    "morec_id_plus_modality_cat": lambda: id_plus_modality("cat", SIZES),
    **{
        f"iisan_{method}": lambda m=method: iisan(m, SIZES)  # type: ignore[misc]
        for method in ("fft", "adapter", "lora", "bitfit")
    },
}


@pytest.fixture(scope="module")
def golden() -> Arrays:
    return FILES["adapter4rec_houlsby_user"]()


def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main([str(folder)])
    return status, capsys.readouterr().out.splitlines()


def test_files_of_other_shapes_are_reproduced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, write in FILES.items():
        np.savez(tmp_path / name, **write())  # type: ignore[arg-type]
    status, lines = said(tmp_path, capsys)
    assert [line.split()[:2] for line in lines] == [[name, "ok"] for name in sorted(FILES)]
    errors = [float(word) for line in lines for word in line.split() if "e-" in word]
    assert len(errors) == 2 * len(FILES) and max(errors) < 2e-6
    assert sum("published form" in line for line in lines) == 7
    assert status == 0 and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("output/user_states", "outputs user_states"),
        ("grad/item_embeddings", "gradients item_embeddings"),
        ("weight/transformer_encoder.transformer_blocks.2.adapter2.fc_up.bias", "outputs"),
    ],
)
def test_a_number_that_is_off(
    key: str,
    what: str,
    tmp_path: Path,
    golden: Arrays,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = golden[key].copy()
    changed.flat[-1] += 1e-3 * abs(changed).max()
    np.savez(tmp_path / "adapter4rec_houlsby_user.npz", **(golden | {key: changed}))
    status, (line,) = said(tmp_path, capsys)
    assert line.startswith(f"adapter4rec_houlsby_user off {what}")
    assert status == 1


def test_what_trains_is_compared(
    tmp_path: Path, golden: Arrays, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = json.loads(str(golden["meta"]))
    meta["trainable"] = [name for name in meta["trainable"] if "adapter2" not in name]
    np.savez(
        tmp_path / "adapter4rec_houlsby_user.npz", **(golden | {"meta": np.array(json.dumps(meta))})
    )
    _, (line,) = said(tmp_path, capsys)
    assert "adapter2.fc_down.bias trains with us alone" in line


def test_other_kinds_and_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mmsr_other", "somebody_else", "adapter4rec_houlsby_bert"):
        (tmp_path / f"{name}.npz").write_bytes(b"not a golden file")
    status, lines = said(tmp_path, capsys)
    assert lines[0].startswith("adapter4rec_houlsby_bert off ValueError")
    assert lines[1:] == ["mmsr_other off not supported yet", "somebody_else off of an unknown kind"]
    assert status == 1


def test_a_folder_without_files(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "missing")]) == 2
