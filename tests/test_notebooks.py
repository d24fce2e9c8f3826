"""Every notebook runs, defines no functions, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from prep import MediaConfig, PrepConfig, build
from prep.config import EncodeConfig

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert "def " not in cell.source


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the Jupyter client, not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(
    path: Path,
    synth_dump: Path,
    tiny_bert: Path,
    tiny_vit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = {
        "title": EncodeConfig(encoder=str(tiny_bert)),
        "cover": EncodeConfig(encoder=str(tiny_vit), source="cover"),
    }
    build(synth_dump, tmp_path / "data", PrepConfig(media=MediaConfig(workers=1), encode=encode))
    monkeypatch.setenv("VERSA_DATASET", str(tmp_path / "data"))
    monkeypatch.setenv("VERSA_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("VERSA_EPOCHS", "2")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 3  # covers and frames, curves, recommendations
    assert (tmp_path / "run" / "metrics" / "test.json").exists()
