"""A sample of captions as a page: what the models are shown, beside their captions of it."""

from pathlib import Path

from markupsafe import Markup

from prep.captioners.sampled import Sample, SampledCaptions
from toolkit.page import rendering
from toolkit.page.markup import Cell, Code, Table, jpeg_address, on_a_line

PAGES = rendering.environment("prep.reporting", jpeg_address=jpeg_address)
STYLE = Path(__file__).with_name("sample.css").read_text(encoding="utf-8")


def render_sample(sample: Sample) -> str:
    """The page of a sample, pictures within."""
    return rendering.render(
        PAGES,
        "sample.html",
        title=f"{sample.dataset}: sample of captions",
        css=STYLE,
        sample=sample,
        counts={"items sampled": len(sample.items), "items in all": sample.item_count},
        models=[(captions.name, _settings(sample, captions)) for captions in sample.names],
    )


def _settings(sample: Sample, captions: SampledCaptions) -> Table:
    settings = dict(captions.about)
    rows: list[list[Cell]] = [
        ["model", settings.pop("model")],
        ["revision", Code(settings.pop("revision"))],
        ["prompt", Code(settings.pop("prompt"))],
        ["its text", Markup('<pre class="prompt">{}</pre>').format(captions.prompt)],
        ["settings", Code(on_a_line(settings))],
        ["time", f"{sample.took(captions)}; {sample.outlook(captions)}"],
    ]
    return Table(None, rows)
