"""The report in a browser: with mouse and keyboard, in dark mode, on a phone, and without scripts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browser, complaints, open_page, requested
from reported_runs import EVIL_NAME, RIGHT_TO_LEFT, RUNS, long_name, many_runs
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from models.report import report
from models.reporting.page import render

USERS = 5
MANY = 20
NAMES = list(RUNS)


@pytest.fixture(scope="module")
def made(reported: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The page of the three runs, and one of twenty runs with long names, titles from right to left and no covers."""
    folder = tmp_path_factory.mktemp("page")
    output, crowded = folder / "report.html", folder / "crowded.html"
    facts = report(reported, output=output, users=USERS, progress=False)
    crowded.write_text(render(many_runs(facts, MANY), [{}]), encoding="utf-8")
    return output, crowded


@pytest.fixture(scope="module")
def page(made: tuple[Path, Path]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def crowded(made: tuple[Path, Path]) -> Path:
    return made[1]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def opened(chromium: Chrome, page: Path) -> Chrome:
    open_page(chromium, page)
    return chromium


def seen(driver: Chrome, query: str) -> list[WebElement]:
    """What of it a reader sees."""
    return [one for one in driver.find_elements(By.CSS_SELECTOR, query) if one.is_displayed()]


def column(driver: Chrome, place: int) -> list[str]:
    return [
        row.find_elements(By.CSS_SELECTOR, "th, td")[place].text
        for row in seen(driver, ".users tbody tr")
    ]


def test_the_page_asks_for_nothing_and_complains_of_nothing(opened: Chrome, page: Path) -> None:
    assert requested(opened) == {page.resolve().as_uri()}
    assert complaints(opened) == []
    assert opened.execute_script("return window.evil") is None
    assert EVIL_NAME in opened.find_element(By.CSS_SELECTOR, ".legend").text
    drawn = seen(opened, "svg")
    assert len(drawn) >= 12 and all(drawing.size["height"] > 80 for drawing in drawn)
    covers = [
        one.value_of_css_property("background-image") for one in seen(opened, ".cover:not(.bare)")
    ]
    assert covers and all(cover.startswith('url("data:image/jpeg') for cover in covers)


def test_what_injected_code_would_do_is_forbidden(opened: Chrome) -> None:
    """Were something ever not escaped, the page's own policy would still stop it."""
    opened.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.evil = 3';"
        "document.body.append(script); new Image().src = 'http://127.0.0.1:9/picture.png'"
    )
    assert opened.execute_script("return window.evil") is None
    told = complaints(opened)
    assert len(told) == 2 and all("Content Security Policy" in message for message in told)


def test_users_are_chosen_by_mouse(opened: Chrome) -> None:
    assert len(seen(opened, ".user")) == 1
    rows = seen(opened, ".users tbody tr")
    assert len(rows) == USERS
    name = rows[3].find_element(By.TAG_NAME, "a")
    name.click()
    (panel,) = seen(opened, ".user")
    assert panel.find_element(By.TAG_NAME, "h3").text == f"User {name.text}"
    assert "chosen" in rows[3].get_attribute("class")
    panel.find_element(By.CSS_SELECTOR, "[aria-label='Next user']").click()
    assert "chosen" in rows[4].get_attribute("class")
    opened.back()
    assert "chosen" in rows[3].get_attribute("class")


def test_runs_are_switched_by_keyboard_for_all_users(opened: Chrome) -> None:
    (shown,) = seen(opened, ".list")
    assert shown.get_attribute("data-list") == "0"
    seen(opened, "[role=tab]")[0].send_keys(Keys.ARROW_LEFT)  # round to the last
    assert [one.get_attribute("data-list") for one in seen(opened, ".list")] == ["2"]
    focused = opened.switch_to.active_element
    assert focused.text == NAMES[2] and focused.get_attribute("aria-selected") == "true"
    focused.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert [one.get_attribute("data-list") for one in seen(opened, ".list")] == ["1"]
    link = seen(opened, ".users tbody a")[2]
    link.send_keys(Keys.ENTER)
    (panel,) = seen(opened, ".user")
    assert opened.switch_to.active_element == panel
    assert [one.get_attribute("data-list") for one in seen(opened, ".list")] == ["1"]
    assert EVIL_NAME in seen(opened, ".list h4")[0].text


def test_the_table_is_sorted_and_filtered(opened: Chrome) -> None:
    ranks = [float(cell) for cell in column(opened, 6)]
    head = seen(opened, ".users thead button")[6]
    head.send_keys(Keys.ENTER)
    assert [float(cell) for cell in column(opened, 6)] == sorted(ranks)
    head.send_keys(Keys.SPACE)
    assert [float(cell) for cell in column(opened, 6)] == sorted(ranks, reverse=True)
    assert len(seen(opened, "[aria-sort=descending]")) == 1
    find = seen(opened, "[name=find]")[0]
    user = column(opened, 0)[1]
    find.send_keys(user.upper())
    assert user in column(opened, 0) and all(user in one for one in column(opened, 0))
    find.clear()
    find.send_keys("nobody is called that")
    assert column(opened, 0) == [] and len(seen(opened, ".none")) == 1
    find.clear()
    find.send_keys(" ")
    show = Select(seen(opened, "[name=show]")[0])
    show.select_by_visible_text("both: hit in the top 10")
    assert [float(cell) for cell in column(opened, 6)] == [
        r for r in sorted(ranks)[::-1] if r <= 10
    ]
    show.select_by_visible_text("both: miss")
    assert [float(cell) for cell in column(opened, 6)] == [r for r in sorted(ranks)[::-1] if r > 10]


def test_a_run_is_set_apart_in_the_plots(opened: Chrome) -> None:
    chip = seen(opened, ".legend button")[1]
    chip.send_keys(Keys.SPACE)
    assert chip.get_attribute("aria-pressed") == "true"
    quiet = {
        one.get_attribute("data-run") for one in opened.find_elements(By.CSS_SELECTOR, ".quiet")
    }
    assert {"0", "2"} <= quiet and "1" not in quiet
    chip.click()
    assert opened.find_elements(By.CSS_SELECTOR, ".quiet") == []


def test_the_first_key_leads_past_the_head(opened: Chrome) -> None:
    opened.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = opened.switch_to.active_element
    assert skip.text == "Skip to the report" and skip.location["x"] >= 0
    outline = opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_long_captions_open(opened: Chrome) -> None:
    caption = seen(opened, "details.said")[0]
    words = caption.find_element(By.TAG_NAME, "p")
    assert not words.is_displayed()
    caption.find_element(By.TAG_NAME, "summary").click()
    assert words.is_displayed() and "<img src=x onerror=" in words.text


def luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG 2 has it."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_their_ground(chromium: Chrome, page: Path, dark: bool) -> None:
    open_page(chromium, page, dark=dark)
    ground = luminance(
        chromium.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    )
    assert (ground < 0.1) == dark
    for query in ("h1", ".soft", "thead th", "svg text", ".users td.hit", ".links a"):
        found = chromium.find_elements(By.CSS_SELECTOR, query)
        if not found:
            continue  # nobody may have hit
        name = "fill" if query.startswith("svg") else "color"
        letters = luminance(found[0].value_of_css_property(name))
        light, deep = max(ground, letters), min(ground, letters)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, query  # WCAG 2, level AA


def test_nothing_is_wider_than_a_phone(chromium: Chrome, page: Path) -> None:
    open_page(chromium, page, width=390)
    widths = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    assert chromium.execute_script(widths) == [390, 390, 390]
    wide = [
        one
        for one in seen(chromium, "svg, .cover, button, select, input")
        if one.size["width"] > 390
    ]
    assert wide == []


def test_twenty_runs_with_long_names_fit(chromium: Chrome, crowded: Path) -> None:
    open_page(chromium, crowded)
    (legend,) = seen(chromium, ".legend")
    assert legend.size["height"] < 110  # it stays on the screen
    looks = {one.get_attribute("class") for one in seen(chromium, ".legend button > *")}
    assert len(looks) == MANY
    names = [one.text for one in chromium.find_elements(By.CSS_SELECTOR, "svg")[0].find_elements(By.CSS_SELECTOR, ".name")]  # fmt: skip
    assert len(set(names)) == len(names) == MANY
    cut = "return [...document.querySelectorAll('#metrics > .wide')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert chromium.execute_script(cut) == 0
    assert long_name(MANY - 1) in seen(chromium, "#metrics table")[0].text
    inside = "return [...document.querySelectorAll('svg')].every(s => [...s.querySelectorAll('text')].every(t => t.getBoundingClientRect().top >= s.getBoundingClientRect().top - 3 && t.getBoundingClientRect().left >= s.getBoundingClientRect().left - 3))"
    assert chromium.execute_script(inside)
    open_page(chromium, crowded, width=390)
    assert chromium.execute_script("return document.documentElement.scrollWidth") == 390


def test_it_prints_in_the_dark_without_cut_tables_or_lost_colours(
    chromium: Chrome, crowded: Path
) -> None:
    open_page(chromium, crowded, width=720, dark=True)
    media = {
        "media": "print",
        "features": [{"name": "prefers-color-scheme", "value": "dark"}],
    }
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        assert chromium.execute_script("return document.documentElement.scrollWidth") == 720
        body = chromium.find_element(By.TAG_NAME, "body")
        ground, letters = (body.value_of_css_property(n) for n in ("background-color", "color"))
        assert luminance(ground) > 0.99 and luminance(letters) < 0.01
        kept = (
            "return getComputedStyle(document.querySelector('.chip'), '::before').printColorAdjust"
        )
        assert chromium.execute_script(kept) == "exact"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_texts_from_right_to_left_keep_their_order(chromium: Chrome, crowded: Path) -> None:
    open_page(chromium, crowded)
    place = (
        "const text = arguments[0].firstChild, range = document.createRange();"
        "const left = n => (range.setStart(text, n), range.setEnd(text, n + 1), range.getBoundingClientRect().left);"
        "return [left(0), left(text.length - 1)]"
    )
    for query in (".users td[dir]", ".item .title", ".said bdi"):
        text = seen(chromium, query)[0]
        assert text.text == RIGHT_TO_LEFT
        first, last = chromium.execute_script(place, text)
        assert last < first, query


def test_everything_is_there_without_a_script(page: Path) -> None:
    with browser(script=False) as driver:
        open_page(driver, page)
        assert len(seen(driver, ".user")) == USERS
        assert len(seen(driver, ".list")) == USERS * len(NAMES)
        assert not seen(driver, ".tools") and not seen(driver, "button")
        headings = [one.text for one in seen(driver, "h2")]
        assert headings[0] == "Metrics" and len(headings) == 8
        text = driver.find_element(By.ID, "metrics").text
        assert all(name in text for name in NAMES) and "NDCG@10" in text
        seen(driver, ".users tbody a")[2].click()
        assert driver.current_url.endswith("#user-0-2")
