"""The report of faces: rates as planted, the identity shortcut, pictures in several folds."""

import json

import numpy as np
import pytest

import prep
from prep.faces.report import BY_SUBJECT
from prep.synth.faces import dump
from prep.synth.faces.dump import write_faces
from prep.synth.faces.sequences import RATE
from prep.synth.faces.settings import SynthFaces


@pytest.fixture
def unpainted(monkeypatch, tmp_path):
    """Writes a dump whose pictures are all the same; only its labels matter."""
    monkeypatch.setattr(dump, "render", lambda *_, **__: np.zeros((32, 32, 3), np.uint8))

    def write(**settings):
        write_faces(tmp_path / "dump", SynthFaces(**settings), progress=False)
        return tmp_path / "dump"

    return write


def test_rates_are_those_of_the_labels(bp4d_dump, store, tmp_path):
    data = store(bp4d_dump, tmp_path / "data")
    facts = prep.report(data)
    labels = np.concatenate(
        [
            np.loadtxt(bp4d_dump / f"data/BP4D-synth/list/BP4D-synth_test_label_fold{fold}.txt")
            for fold in (1, 2, 3)
        ]
    )
    known = labels != 9
    for index, unit in enumerate(facts["units"]):
        assert unit["active"] == int((labels[:, index] == 1).sum())
        assert unit["missing"] == int((~known[:, index]).sum())
        assert unit["rate"] == pytest.approx(unit["active"] / known[:, index].sum(), abs=1e-6)
        first = labels[:16, index]
        expected = (first == 1).sum() / (first != 9).sum()
        assert unit["rate_by_fold"][1] == pytest.approx(expected, abs=1e-6)
    assert facts["folds"] == [{"fold": fold, "subjects": 2, "faces": 16} for fold in (1, 2, 3)]
    page = (data / "report.html").read_text()
    assert "inner brow raiser" in page and "<script" not in page
    assert json.loads((data / "report.json").read_text())["counts"]["subjects"] == 6


def test_a_report_warns_of_an_identity_shortcut(unpainted, store, tmp_path):
    facts = prep.report(store(unpainted(subjects=6, frames=60, shortcut=1.0), tmp_path / "data"))
    shares = [unit["by_subject"] for unit in facts["units"] if unit["by_subject"] is not None]
    assert np.median(shares) > BY_SUBJECT
    (finding,) = (f for f in facts["verdict"] if f["kind"] == "identity_shortcut")
    assert finding["fitness"] == "caution" and "AU0" in finding["what"]


def test_without_a_shortcut_the_subject_decides_little(unpainted, store, tmp_path):
    facts = prep.report(store(unpainted(subjects=6, frames=120), tmp_path / "data"))
    assert np.median([unit["by_subject"] for unit in facts["units"]]) < 0.2
    rates = np.array([unit["rate"] for unit in facts["units"]])
    assert abs(rates.mean() - RATE) < 0.06
    assert not [f for f in facts["verdict"] if f["kind"] == "identity_shortcut"]


def test_equal_pictures_in_several_folds_are_found(broken, store, tmp_path):
    pictures = broken / "data/BP4D-synth/img"
    (pictures / "M001/T1/1.jpg").write_bytes((pictures / "F001/T1/1.jpg").read_bytes())
    facts = prep.report(store(broken, tmp_path / "data"))
    assert facts["same_pictures"] == [{"pictures": ["F001/T1/1.jpg", "M001/T1/1.jpg"]}]
    assert any(f["what"] == "1 picture in several folds" for f in facts["verdict"])


def test_an_au_that_is_never_active_in_a_fold(broken, store, tmp_path):
    path = broken / "data/BP4D-synth/list/BP4D-synth_test_label_fold3.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    path.write_text("".join(" ".join(["0", *row[1:]]) + "\n" for row in rows))
    facts = prep.report(store(broken, tmp_path / "data"))
    assert any(f["what"] == "AU01 is never active in the tests of fold 3" for f in facts["verdict"])


def test_damage_shows(bp4d_dump, store, tmp_path):
    data = store(bp4d_dump, tmp_path / "data")
    shard = data / "faces/part-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (reason,) = prep.check(data)
    assert "faces/part-00000.arrow" in reason
