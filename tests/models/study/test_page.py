"""The page and the tables of a study: complete, escaped, and without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
from browser import browser, complaints, open_page, requested
from selenium.webdriver.common.by import By

from models.study.page import render
from models.study.tables import latex, markdown
from toolkit.json_files import read_json

EVIL = "<script>window.evil = 1</script>"


@pytest.fixture
def hostile(finished: Path) -> dict[str, Any]:
    """Results whose method names, messages and settings would act as markup."""
    text = json.dumps(read_json(finished / "results.json"))
    results = json.loads(text.replace('"popularity"', json.dumps(EVIL)))
    trial = results["datasets"]["walks"]["methods"]["id"]["trials"][0]
    trial |= {"value": None, "status": "failed", "message": EVIL, "settings": {EVIL: EVIL}}
    results["amendments"] = [
        {"when": "now", "results": 1, "from": "a", "to": "b", "changed": {EVIL: [1, EVIL]}}
    ]
    return results


def test_nothing_of_a_study_acts_as_markup(hostile: dict[str, Any]) -> None:
    page = render(hostile)
    assert "<script>" not in page and page.count("&lt;script&gt;") > 5
    assert "<script>" not in markdown(hostile) and r"\<script\>" in markdown(hostile)
    rows = [line for line in latex(hostile).splitlines() if line.startswith(r"\textless{}script")]
    assert len(rows) == 1


def test_a_reader_sees_the_whole_study(finished: Path) -> None:
    page = finished / "report.html"
    digest = read_json(finished / "results.json")["hash"]
    with browser() as driver:
        open_page(driver, page, width=390)
        assert requested(driver) == {page.resolve().as_uri()} and complaints(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        headings = [one.text for one in driver.find_elements(By.CSS_SELECTOR, "h2")]
        assert headings == ["walks", "Reproducibility checklist", "Plan"]
        text = driver.find_element(By.TAG_NAME, "body").text
    assert digest in text and "Kendall's τ" in text and "Which versions?" in text
