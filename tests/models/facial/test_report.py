"""The report of a run: curves against metrics, the faces it chooses, maps, and the page in a browser."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import browser, complaints, open_page, requested
from selenium.webdriver.common.by import By

from models.facial.evaluate import evaluate
from models.facial.metrics import auc
from models.facial.report import report
from models.facial.reporting.chosen import confident_errors, right_and_wrong
from models.facial.reporting.curves import reliability, roc
from models.facial.reporting.maps import with_attention
from models.facial.reporting.page import render
from models.facial.stored import StoredTest
from toolkit import UserError

EVIL = "<script>window.evil = 1</script>"


@pytest.fixture(scope="module")
def run(trained_run, disfa, tmp_path_factory) -> Path:
    """The run with a test on another dataset."""
    copy = shutil.copytree(trained_run, tmp_path_factory.mktemp("report") / "run")
    evaluate(copy, data=disfa)
    return copy


@pytest.fixture(scope="module")
def page(run) -> tuple[Path, dict]:
    output = run / "report.html"
    return output, report(run, output=output, examples=2)


def stored(probabilities, labels, subjects=None) -> StoredTest:
    p, y = np.array(probabilities, np.float32), np.array(labels, np.int8)
    names = subjects or [f"s{row}" for row in range(len(p))]
    items = [f"i{row}" for row in range(len(p))]
    return StoredTest((1, 12), items, names, y, np.log(p / (1 - p)), p, None, None)


def test_the_area_under_the_curve_is_the_auc():
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 9], 400)
    scores = np.round(draw.normal(size=400) + (labels == 1), 1)
    points = np.array(roc(scores, labels))
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(auc(scores[:, None], labels[:, None])[0], abs=2e-3)
    assert roc(scores, np.ones(400)) == [] and reliability(scores, np.full(400, 9)) == []


def test_examples_are_of_many_people_and_errors_of_all_aus():
    probabilities = [[0.9, 0.9], [0.9, 0.9], [0.1, 0.1], [0.9, 0.2], [0.7, 0.99]]
    labels = [[1, 1], [1, 1], [0, 0], [0, 1], [0, 0]]
    test = stored(probabilities, labels, ["a", "a", "b", "c", "c"])
    assert right_and_wrong(test, 2) == ([0, 2], [3, 4])  # without a second face of a
    assert right_and_wrong(test, 3)[0] == [0, 2, 3]
    # AU 12 of face 4 has 99 %; of AU 1, that face has 70 % and face 3 has 90 %
    assert confident_errors(test) == [(4, 1), (3, 0)]
    assert confident_errors(stored([[0.9, 0.9]], [[9, 1]])) == []


def test_a_map_shows_where_attention_is_highest():
    grey = np.full((40, 40, 3), 128, np.uint8)
    attention = np.zeros((4, 4), np.float32)
    attention[0, 3] = 0.2
    drawn = with_attention(grey, attention).astype(int)
    change = np.abs(drawn - grey).sum(2)
    assert np.unravel_index(change.argmax(), change.shape)[0] < 10
    assert change[:8, 32:].min() > change[20:, :20].max()
    assert with_attention(grey, np.full((4, 4), 0.7, np.float32)) is grey


def test_the_facts_are_those_of_the_stored_tests(run, page, bp4d):
    output, facts = page
    assert facts["test"] == json.loads((run / "metrics/test.json").read_text())
    assert [one["dataset"]["name"] for one in facts["cross"]] == ["DISFA-synth"]
    assert json.loads(json.dumps(facts)) == facts
    assert {face["kind"] for face in facts["examples"]} == {"right", "wrong"}
    html = output.read_text()
    assert html.count("<img src=") == html.count("data:image/jpeg;base64,")
    shown = len(facts["examples"]) + sum(len(face["maps"]) for face in facts["examples"])
    assert html.count("<img ") == shown + len(facts["errors"])
    plain = report(run, output=run / "plain.html", examples=0, data="nowhere")
    assert plain["examples"] == [] and "<img" not in (run / "plain.html").read_text()


def test_nothing_of_a_run_acts_as_markup_and_parts_can_be_absent(page):
    _, facts = page
    text = json.dumps(facts).replace('"run"', f'"{EVIL}"').replace("BP4D-synth", EVIL)
    hostile = json.loads(text) | {"run": EVIL, "cross": [], "shuffled": True}
    hostile["test"] |= {"texts": {}, "identity": None, "ECE": None}
    for face in [*hostile["examples"], *hostile["errors"]]:
        face |= {"text": None, "item_id": EVIL}
    rows = {str(face["row"]): b"jpeg" for face in [*hostile["examples"], *hostile["errors"]]}
    html = render(hostile, rows)  # as of a network without attention
    assert "<script" not in html and html.count("&lt;script&gt;") > 5
    assert "shuffled labels" in html and 'id="texts"' not in html and 'id="cross"' not in html


def test_runs_without_a_test_and_other_faces_are_refused(run, page, disfa, tmp_path):
    with pytest.raises(UserError, match=r"not the faces that .* was trained on"):
        report(run, output=tmp_path / "a.html", data=disfa)
    with pytest.raises(UserError, match="is a folder; pass a file name"):
        report(run, output=tmp_path)
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "faces/test.arrow").unlink()
    with pytest.raises(
        UserError, match=r"has no test 'test'; run python -m models\.facial evaluate"
    ):
        report(copy, output=tmp_path / "a.html")


def test_a_reader_sees_the_whole_page_on_a_phone_and_in_the_dark(page):
    output, facts = page
    with browser() as driver:
        open_page(driver, output, width=390)
        assert requested(driver) == {output.resolve().as_uri()} and complaints(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        headings = [one.text for one in driver.find_elements(By.TAG_NAME, "h2")]
        assert headings == [
            "Action units", "Curves", "Calibration", "Examples", "Confident errors", "Texts", "Identity", "Other datasets",
            "Training", "Settings and limits",
        ]  # fmt: skip
        broken = "return [...document.images].filter(i => !i.naturalWidth || i.width > 390).length"
        assert driver.execute_script(broken) == 0
        assert facts["examples"][0]["text_of_labels"] in driver.find_element(By.ID, "examples").text
        ground = "return getComputedStyle(document.body).backgroundColor"
        light = driver.execute_script(ground)
        open_page(driver, output, dark=True)
        assert driver.execute_script(ground) != light
