"""A sample of captions as a page: what the models are shown, beside what they say of it."""

from collections.abc import Iterator

from prep.captioners.sampled import Sample, SampledCaption, SampledCaptions, SampledItem
from toolkit.page.markup import (
    Cell,
    Code,
    Html,
    document,
    header,
    picture,
    section,
    table,
    text,
    words,
)

_LOOK = """\
.prompt { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }
td:first-child { white-space: nowrap; }
.item { margin: 0 0 1.25rem; padding: 1rem 1.1rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; break-inside: avoid; }
.item h3 { margin: 0; }
.item > p { margin: 0 0 0.75rem; font-size: 0.9rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.pictures img { display: block; height: 7.5rem; max-width: 100%; object-fit: contain; border-radius: 0.3rem; }
.pictures figcaption { margin: 0.2rem 0 0; font-size: 0.85rem; }
.cover { margin-right: 0.75rem; }
.said { margin: 0.75rem 0 0; display: grid; grid-template-columns: max-content 1fr; gap: 0.4rem 1.25rem; }
.said dd { margin: 0; min-width: 0; }
.flaw { color: var(--warning); font-weight: 650; }
@media (max-width: 34rem) {
  .pictures { gap: 0.5rem; }
  .pictures img { height: 5.25rem; }
  .said { grid-template-columns: 1fr; gap: 0; }
  .said dd { margin-bottom: 0.5rem; }
}
"""


def render_sample(sample: "Sample") -> str:
    """The page of a sample, pictures within."""
    counts = {"items sampled": len(sample.items), "items in all": sample.item_count}
    about = [part for captions in sample.names for part in _about(sample, captions)]
    parts = [
        header("Sample of captions", sample.dataset, counts),
        section("Models and prompts", *about),
        section("Items", *(_item(sample, place) for place in range(len(sample.items)))),
    ]
    return document(f"{sample.dataset}: sample of captions", parts, css=_LOOK)


def _about(sample: "Sample", captions: "SampledCaptions") -> Iterator[Html]:
    about = dict(captions.about)
    rows: list[list[Cell]] = [
        ["model", about.pop("model")],
        ["revision", Code(about.pop("revision"))],
        ["prompt", Code(about.pop("prompt"))],
        ["its text", Html(f'<pre class="prompt">{text(captions.prompt)}</pre>')],
        ["settings", Code(words(about))],
        ["time", f"{sample.took(captions)}; {sample.outlook(captions)}"],
    ]
    yield Html(f"<h3>{text(captions.name)}</h3>")
    yield table(None, rows)


def _item(sample: "Sample", place: int) -> Html:
    item = sample.items[place]
    said = "\n".join(
        f'<dt>{text(captions.name)}</dt><dd dir="auto">{_caption(captions.captions[place])}</dd>'
        for captions in sample.names
    )
    pictures = "\n".join(_pictures(item)) or '<p class="soft">No pictures.</p>'
    return Html(
        f'<article class="item">\n<h3 dir="auto">{text(item.title or "No title")}</h3>\n'
        f'<p class="soft">item <code>{text(item.item_id)}</code></p>\n'
        f'<div class="pictures">\n{pictures}\n</div>\n<dl class="said">\n{said}\n</dl>\n</article>'
    )


def _pictures(item: "SampledItem") -> Iterator[Html]:
    if item.cover:
        shown = picture(item.cover, "cover")
        yield Html(f'<figure class="cover">{shown}<figcaption>cover</figcaption></figure>')
    for place, frame in enumerate(item.frames):
        when = f"{item.pts_seconds[place]:.2f} s" if item.pts_seconds else f"frame {place + 1}"
        shown = picture(frame, f"frame at {when}" if item.pts_seconds else when)
        yield Html(f"<figure>{shown}<figcaption>{text(when)}</figcaption></figure>")


def _caption(caption: "SampledCaption") -> Html:
    if caption.status == "ok":
        return text(caption.text)
    why = f'<span class="flaw">{text(caption.status)}</span> {text(caption.message)}'
    return Html(f"{why}<br>\n{text(caption.text)}" if caption.text else why)
