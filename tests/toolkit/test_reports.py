"""The building blocks of reports: their output in the examples, and escaping."""

import doctest

import pytest

from toolkit import measures
from toolkit.page import drawing, markup


@pytest.mark.parametrize("module", [drawing, measures])
def test_doctests_hold(module) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_labels_of_a_drawing_are_escaped() -> None:
    axes = [*drawing.x_axis({1.0: "<a>"}, "<b>"), *drawing.y_axis({1.0: "<c>"}, "<d>")]
    drawn = drawing.figure("<e>", "<f>", axes)
    assert all(f"&lt;{letter}&gt;" in drawn and f"<{letter}>" not in drawn for letter in "abcdef")


def test_a_line_that_opens_counts_or_does_not() -> None:
    assert markup.details("<x>", markup.Html("")) == (
        '<details>\n<summary>&lt;x&gt;</summary>\n<p class="soft">None.</p>\n</details>'
    )
    counted = markup.details("x", markup.Html("<p>y</p>"), count=1_000)
    assert '<span class="count">1,000</span>x' in counted and "<p>y</p>" in counted
