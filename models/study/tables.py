"""The tables of a study as Markdown and LaTeX, from its results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from models.results.comparison import LEVEL, escaped
from models.runs.markdown import code, plain, table
from models.study.encoders import weights_of

Results = Mapping[str, Any]


def markdown(results: Results) -> str:
    """The whole study in Markdown: metrics with tests, sensitivity, cost and checklist."""
    parts = [
        f"# Study {code(results['hash'][:16])}",
        f"SHA-256 of the plan: {code(results['hash'])}",
    ]
    parts += [f"**Amended.** {plain(sentence)}" for sentence in amendment_sentences(results)]
    for dataset, block in results["datasets"].items():
        parts += [
            f"## {plain(dataset)}",
            table(*_cells(results, block, plain, lambda text: f"**{text}**")),
        ]
        parts += [
            f"{note(results)} {TEST_NOTE}",
            plain(selection_note(block)),
            f"### Cost on {plain(dataset)}",
            table(*cost_rows(block, plain)),
        ]
        sentences = [f"- {plain(sentence)}" for sentence in sensitivity_sentences(block)]
        parts += ["### Does the order depend on the protocol?", "\n".join(sentences)]
    answers = [[plain(entry["item"]), plain(entry["answer"])] for entry in results["checklist"]]
    return "\n\n".join(
        [*parts, "## Reproducibility checklist", table(["question", "answer"], answers)]
    )


def latex(results: Results) -> str:
    """A booktabs table per dataset: the metric by method and protocol; the best value is bold."""
    lines = [r"% \usepackage{booktabs}", f"% study {results['hash']}"]
    lines += [
        f"% amended: {' '.join(sentence.split())}" for sentence in amendment_sentences(results)
    ]
    for dataset, block in results["datasets"].items():
        head, rows = _cells(results, block, escaped, lambda text: rf"\textbf{{{text}}}")
        body = [" & ".join(row) + r" \\" for row in [head, *rows]]
        lines += [
            f"% {' '.join(dataset.split())}: {note(results)} {TEST_NOTE}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            *(r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"),
        ]
    return "\n".join(lines)


def note(results: Results) -> str:
    """What the numbers of a table are."""
    seeds = len(results["budget"]["seeds"])
    over, spread = "users, of one seed", ""
    if seeds > 1:
        over, spread = f"{seeds} seeds and users", ", ± standard deviation over seeds"
    return f"{results['metric']} on the test split in percent: mean over {over}, 95% interval over users{spread}."


def selection_note(block: Results) -> str:
    """Under which protocols settings were selected, and what was tested with them."""
    shared: dict[str, list[str]] = {}
    for protocol, facts in block["protocols"].items():
        shared.setdefault(facts["selected_under"], []).append(protocol)
    clauses = [f"under {first} for {', '.join(protocols)}" for first, protocols in shared.items()]
    return f"Settings and epochs were selected on the validation split, {'; '.join(clauses)}."


TEST_NOTE = (
    "p: paired sign-flip test over users of a user's mean over seeds, against the first method, corrected for the number "
    f"of methods (Holm), * below {LEVEL}."
)


def _cells(
    results: Results, block: Results, name_of: Callable[[str], str], bold: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a method's value, interval, spread and test under each protocol."""
    metric, protocols = results["metric"], list(block["protocols"])
    best = {
        protocol: max(m["metrics"][protocol][metric]["value"] for m in block["methods"].values()
                      if protocol in m["metrics"])
        for protocol in protocols
    }  # fmt: skip
    rows = []
    for name, method in block["methods"].items():
        cells = [name_of(name)]
        for protocol in protocols:
            value = method["metrics"].get(protocol, {}).get(metric)
            if value is None:
                cells.append("failed")
                continue
            shown = percent(value["value"])
            shown = bold(shown) if value["value"] == best[protocol] else shown
            test = block["protocols"][protocol]["tests"].get(name)
            cells.append(
                f"{shown} {name_of(_rest(value))}{'' if test is None else name_of(_p(test))}"
            )
        rows.append(cells)
    return ["method", *(name_of(protocol) for protocol in protocols)], rows


def _rest(value: Mapping[str, Any]) -> str:
    spread = "" if value["std"] is None else f" ± {percent(value['std'])}"
    return f"[{percent(value['low'])}, {percent(value['high'])}]{spread}"


def _p(test: Mapping[str, Any]) -> str:
    star = " *" if test["corrected_p_value"] < LEVEL else ""
    return f", p {test['corrected_p_value']:.4f}{star}"


def cost_rows(
    block: Results, name_of: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what each method tried and spent."""
    rows = []
    for name, method in block["methods"].items():
        cost, trials = method["cost"], method["trials"]
        failed = sum(trial["status"] == "failed" for trial in trials)
        rows.append(
            [
                name_of(name),
                f"{len(trials)}{f' ({failed} failed)' if failed else ''}",
                _number(cost["epochs_per_run"], "{:.1f}"),
                _number(cost["seconds_per_run"], "{:.1f}"),
                f"{cost['seconds']:.1f}",
                _number(cost["trainable_parameters"], "{:,}"),
                _number(weights_of(method["encoders"]), "{:,}"),
            ]
        )
    head = ["method", "trials", "epochs per selected run", "seconds per selected run", "seconds of all runs",
            "trainable parameters", "weights of the encoders"]  # fmt: skip
    return head, rows


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def amendment_sentences(results: Results) -> list[str]:
    """A sentence per amendment: when, after how many results, and what changed."""
    return [
        f"The plan was changed on {entry['when']}, after {entry['results']} results: "
        + "; ".join(f"{key} from {old} to {new}" for key, (old, new) in entry["changed"].items())
        + "."
        for entry in results["amendments"]
    ]


def sensitivity_sentences(block: Results) -> list[str]:
    """Whether the order of methods depends on the protocol, in sentences."""
    found = block["sensitivity"]
    if found is None:
        return ["No method has results under all protocols."]
    if not found["pairs"]:
        (protocol, order), *_ = found["order"].items()
        return [f"One protocol, {protocol}: {', '.join(order)}, the best first."]
    sentences = []
    for pair in found["pairs"]:
        first, second = pair["protocols"]
        tau = "undefined" if pair["tau"] is None else f"{pair['tau']:.2f}"
        swaps = list(_swap_words(pair["swaps"]))
        order = f"differs: {'; '.join(swaps)}" if swaps else "is the same"
        sentences.append(
            f"{first} and {second}: Kendall's τ {tau}; the order of the methods {order}."
        )
    return sentences


def _swap_words(swaps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for swap in swaps:
        verdict = (
            "significant under both"
            if swap["significant"]
            else "not significant under at least one"
        )
        yield f"{' and '.join(swap['methods'])} swap ({verdict})"


def percent(share: float) -> str:
    """A share in percent, with two digits."""
    return f"{100 * share:.2f}"
