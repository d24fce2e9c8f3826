"""The building blocks of reports: their output in the examples, and escaping."""

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from toolkit.page import drawing, rendering
from toolkit.page.markup import Code, Interval, Percent, Table


def test_labels_of_a_drawing_are_escaped() -> None:
    axes = [*drawing.x_axis({1.0: "<a>"}, "<b>"), *drawing.y_axis({1.0: "<c>"}, "<d>")]
    drawn = drawing.figure("<e>", "<f>", axes)
    assert all(f"&lt;{letter}&gt;" in drawn and f"<{letter}>" not in drawn for letter in "abcdef")


def part(source: str, **values: object) -> str:
    """What a template prints that uses the pieces of all pages."""
    pages = rendering.environment("toolkit.page")
    imports = '{% from "parts.html" import details, numbers, table %}'
    return pages.from_string(imports + source).render(values)


def test_a_line_that_opens_counts_or_does_not() -> None:
    assert part('{% call details("<x>") %}{% endcall %}') == (
        '<details>\n<summary>&lt;x&gt;</summary>\n<p class="soft">None.</p>\n</details>\n'
    )
    counted = part('{% call details("x", 1000) %}<p>y</p>{% endcall %}')
    assert '<span class="count">1,000</span>x' in counted and "<p>y</p>" in counted


def test_a_table_shows_each_kind_of_cell_and_escapes_every_text() -> None:
    rows = [
        [
            "<b>",
            1_000,
            0.5,
            Code("<i>"),
            Percent(1, 8),
            Interval(0.5, 0.25, 0.75),
            Markup("<s>x</s>"),
        ],
        ["'\"", None, 1_234.5, Code(None), Percent(0, 0), None, "&"],
    ]
    shown = part("{{ table(of) }}", of=Table([*"abcdef", "<g>"], rows, row_heads=True))
    first, second = re.findall("<tr>(.*?)</tr>", shown.partition("<tbody>")[2])
    right = '<td class="right">'
    assert first == (
        f'<th scope="row">&lt;b&gt;</th>{right}1,000</td>{right}0.50</td><td><code>&lt;i&gt;</code></td>'
        f'{right}12.5 %</td>{right}50.00 <span class="soft">[25.00, 75.00]</span></td><td><s>x</s></td>'
    )
    assert second == (
        f'<th scope="row">&#39;&#34;</th>{right}–</td>{right}1,234.50</td><td>–</td>'
        f"{right}–</td>{right}–</td><td>&amp;</td>"
    )
    assert '<th scope="col">&lt;g&gt;</th></tr></thead>' in shown
    assert part("{{ table(of) }}", of=Table(["a"], [])).strip() == ""


def test_a_name_that_a_page_was_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'heading' is undefined"):
        part("{{ heading }}")


def test_a_page_runs_its_own_script_and_no_other() -> None:
    pages = rendering.environment("toolkit.page")
    page = rendering.render(pages, "page.html", title="</title><b>", script="let a = '<&\"';")
    digest = base64.b64encode(hashlib.sha256(b"let a = '<&\"';").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "<script>let a = '<&\"';</script>" in page
    assert "<title>&lt;/title&gt;&lt;b&gt;</title>" in page
    assert "script" not in rendering.render(pages, "page.html", title="")
