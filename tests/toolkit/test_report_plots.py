"""Positions in the report's plots match their numbers, computed by hand from the axes."""

from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from toolkit.page.drawing import FRAME
from toolkit.page.plots import (
    CURVES,
    SMALL,
    Point,
    Series,
    Values,
    bars,
    curves,
    dots,
    gates,
    intervals,
    labels,
    scatter,
)


def metric(value: float, reach: float = 0.0) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def parse(drawing: str) -> tuple[Element, dict[str | None, Element]]:
    """The drawing, and its series by run."""
    svg = ElementTree.fromstring(drawing)
    return svg, {one.get("data-run"): one for one in svg.findall("g")}


def number(element: Element | None, name: str) -> float:
    assert element is not None
    return float(element.get(name, ""))


def test_intervals_stand_on_one_scale_with_chance() -> None:
    rows = [Values(0, "a & b", [metric(0.1, 0.05)]), Values(9, "b", [metric(0.3, 0.1)])]
    svg, series = parse(intervals(rows, metric="HR@10", chance=0.2))
    # ticks 0, 10, .., 40 from 132 to 396: 0.1 of 0.4 is 66 units
    assert [number(one.find("circle"), "cx") for one in series.values()] == [198.0, 330.0]
    assert [one.get("class") for one in series.values()] == ["series s0", "series s1 r1"]
    (chance,) = (one for one in svg.findall("path") if one.get("class") == "chance")
    assert chance.get("d", "").startswith("M264.0 ")
    whisker = series["9"].find("path")
    assert whisker is not None and whisker.get("d") == "M264.0 53.0H396.0"
    assert "a & b 10.00 % [5.00, 15.00]" in str(svg.findtext("desc"))


def test_curves_share_their_axes_and_ring_the_marked_point() -> None:
    series = [Series(0, "a", [[0, 0.0], [5, 0.1], [10, 0.2]], 5), Series(1, "b", [[10, 0.1]])]
    svg, found = parse(curves(series, title="t", x_unit="epoch", y_unit="%", percent=True))
    width, height = CURVES.right - CURVES.left, CURVES.bottom - CURVES.top
    line = found["0"].find("polyline")
    assert line is not None
    corners = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
    assert corners == [
        (CURVES.left, CURVES.bottom),
        (CURVES.left + width / 2, CURVES.bottom - height / 2),
        (CURVES.right, CURVES.top),
    ]
    (ring,) = found["0"].findall("circle")
    assert (number(ring, "cx"), number(ring, "cy")) == corners[1]
    assert len(found["1"].findall("circle")) == 1  # a curve of one point would not be seen
    assert "a ends at 20.00 %; b ends at 10.00 %" in str(svg.findtext("desc"))


def test_bars_and_dots_stand_side_by_side_in_their_columns() -> None:
    runs = [Values(0, "a", [metric(0.1), None]), Values(None, "b", [metric(0.2), metric(0.0)])]
    columns, about = ["x", "y"], {"title": "t", "x_unit": "u"}
    height = FRAME.bottom - FRAME.top
    _, found = parse(bars(columns, runs, **about))
    heights = [[number(bar, "height") for bar in one.iter("rect")] for one in found.values()]
    assert heights == [[height / 2], [height, 0.0]]
    assert found[None].get("class") == "series plain"
    svg, found = parse(dots(columns, runs, **about))
    middles = [number(dot, "cx") for one in found.values() for dot in one.iter("circle")]
    step = (FRAME.right - FRAME.left) / 2
    slot = 0.84 * step / 2
    first = FRAME.left + 0.08 * step
    expected = [first + slot / 2, first + 1.5 * slot, first + step + 1.5 * slot]
    assert middles == pytest.approx(expected, abs=0.05)
    assert svg.findtext("desc") == "t, in percent. a: x 10.0; b: x 20.0, y 0.0."


def test_weights_of_a_level_are_stacked() -> None:
    svg = ElementTree.fromstring(gates(["emb.", "3"], [[0.25, 0.75], [1.0, 0.0]], title="w"))
    height = SMALL.bottom - SMALL.top
    found = [(b.get("class"), number(b, "y"), number(b, "height")) for b in svg.findall("rect")]
    assert found == [
        ("bar t0", SMALL.bottom - height / 4, height / 4),
        ("bar t1", SMALL.top, 0.75 * height),
        ("bar t0", SMALL.top, height),
        ("bar t1", SMALL.top, 0.0),
    ]
    assert svg.findtext("desc") == "w, by layer: emb.: 0.25, 0.75; 3: 1.00, 0.00."


def test_names_of_close_points_do_not_stand_on_one_another() -> None:
    points = [Point(n, f"run {n}", 0.5, metric(0.1, 0.1)) for n in range(4)]
    _, found = parse(scatter(points, x_name="cost", y_name="HR@10"))
    heights = sorted(number(one.find("text"), "y") for one in found.values())
    assert all(above + 13.9 <= below for above, below in pairwise(heights))


def test_a_value_that_is_the_same_everywhere_is_drawn() -> None:
    flat = [Series(0, "a", [[1, 2.0], [2, 2.0]])]
    assert "nan" not in curves(flat, title="t", x_unit="step", y_unit="loss")
    zero = [Point(0, "a", 0.0, metric(0.0))]
    assert "nan" not in scatter(zero, x_name="TPME", y_name="HR@10")


def test_a_name_without_room_is_left_out_and_none_is_above_the_drawing() -> None:
    points = [Point(n, f"run {n}", 0.5, metric(0.1)) for n in range(9)]
    svg, _ = parse(scatter(points, x_name="cost", y_name="HR@10"))
    heights = [
        number(text, "y") for text in svg.iter("text") if (text.text or "").startswith("run")
    ]
    assert heights == [14.0]  # the points are at the top, and a second name would be outside


def test_long_names_keep_what_tells_them_apart() -> None:
    names = [
        f"{kind}_rate-{rate}e-4_batch-512_seed-1" for kind in ("id", "text") for rate in (1, 3)
    ]
    assert labels(names, 18) == ["id_rate-1e-4…", "id_rate-3e-4…", "text_rate-1e-4…", "text_rate-3e-4…"]  # fmt: skip
    assert labels(["ease", "x" * 30], 18) == ["ease", "xxxxx…xxxxxxxxxxxx"]
