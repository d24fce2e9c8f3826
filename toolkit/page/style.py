"""The look of reports: light or dark as the reader's system is, narrow or wide, and on paper.

`CSS` is part of every page. `REPORT` is for pages with findings, links to sections and plots of several series.
"""

from pathlib import Path

REPORT = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
CSS = """\
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #23262b; --soft: #626a73; --line: #e4e1da;
  --accent: #2f6f73; --pale: #c9d6d5; --error: #a8322a; --warning: #8a5a00; --note: #456079;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --card: #1d2024; --ink: #e3e4e2; --soft: #9aa2aa; --line: #30343a;
    --accent: #7fc0bf; --pale: #3c4f51; --error: #f0938a; --warning: #e3b25f; --note: #9dbbd6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 60rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 3rem 0 0.75rem; font-size: 1.25rem; font-weight: 650; }
h3 { margin: 1.75rem 0 0.5rem; font-size: 1rem; font-weight: 650; }
p { margin: 0.5rem 0; max-width: 44rem; }
.over, .soft, figcaption, dt { color: var(--soft); }
.over { margin: 0 0 0.25rem; font-size: 0.9rem; }
.numbers { display: flex; flex-wrap: wrap; gap: 0.5rem 3rem; margin: 1.5rem 0 0; }
.numbers div { display: flex; flex-direction: column-reverse; }
.numbers dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.25; }
.numbers dt { font-size: 0.9rem; }
.verdict { margin: 1rem 0 0; padding: 0; list-style: none; }
.verdict li {
  display: grid; grid-template-columns: 5.5rem 1fr; padding: 0.7rem 1rem;
  background: var(--card); border: 1px solid var(--line); border-bottom-width: 0;
}
.verdict li:first-child { border-radius: 0.5rem 0.5rem 0 0; }
.verdict li:last-child { border-radius: 0 0 0.5rem 0.5rem; border-bottom-width: 1px; }
.verdict li:only-child { border-radius: 0.5rem; }
.severity { font-size: 0.9rem; font-weight: 650; line-height: 1.72; }
.error .severity { color: var(--error); }
.warning .severity { color: var(--warning); }
.note .severity { color: var(--note); }
.wide { overflow-x: auto; margin: 0.75rem 0; }
td, dd, bdi { unicode-bidi: plaintext; }
td > .soft { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-size: 0.94rem; }
th, td { padding: 0.4rem 1rem 0.4rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.long { display: inline-block; width: max-content; max-width: 12rem; white-space: normal; overflow-wrap: anywhere; }
tbody tr { border-top: 1px solid var(--line); }
thead + tbody tr:last-child, tbody tr:last-child { border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
.right { text-align: right; white-space: nowrap; }
.right + :not(.right) { padding-left: 1rem; }
code { font: 0.86em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
div + details { margin-top: 1.5rem; }
details { border-bottom: 1px solid var(--line); }
details:first-of-type { border-top: 1px solid var(--line); }
summary { padding: 0.45rem 0; cursor: pointer; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
details > :not(summary) { margin: 0 0 0.9rem 1.1rem; }
details th:first-child { width: 6rem; }
details tbody tr:first-child { border-top: 0; }
.count { float: right; margin-left: 1rem; }
.plots { display: grid; align-items: end; margin-bottom: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1.75rem 2.5rem; }
figure { margin: 0; }
figcaption { margin-bottom: 0.5rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12.5px; text-anchor: middle; }
svg text.end { text-anchor: end; }
svg .grid, svg .axis { stroke: var(--line); fill: none; }
svg .axis { stroke: var(--soft); }
svg .bar, svg .area { fill: var(--accent); }
svg .quiet { fill: var(--pale); }
svg .area { opacity: 0.14; }
svg .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
@media (max-width: 34rem) {
  body { padding-top: 1.75rem; }
  .verdict li { grid-template-columns: 1fr; }
  .numbers { gap: 0.5rem 2rem; }
  details th:first-child { width: 3.5rem; }
  th, td { padding-right: 0.6rem; }
  tbody th { white-space: normal; min-width: 6.5rem; }
  .right + :not(.right) { padding-left: 0; }
}
@media print {
  :root {
    font-size: 10pt;
    --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb;
    --accent: #2f6f73; --pale: #c9d6d5; --error: #a8322a; --warning: #8a5a00; --note: #456079;
  }
  body { max-width: none; padding: 0; }
  h2, h3, h4, summary { break-after: avoid; break-inside: avoid; }
  .wide { overflow: visible; }
  table { font-size: 0.78em; }
  th, td { padding-right: 0.45rem; }
  th, td, .right, td > .soft { white-space: normal; }
  .long { max-width: 7em; }
  tr, figure, .verdict li { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
