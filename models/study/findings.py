"""Summary sentences of a study, shown at the top of its page."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.results.comparison import LEVEL
from models.study.tables import percent, sensitivity_sentences


def find(results: Mapping[str, Any]) -> list[str]:
    """Sentences about each dataset: the best method under each protocol, failures, and the order of methods."""
    found = [f"No result of {name}: every run failed." for name in results["failed_methods"]]
    several = len(results["datasets"]) > 1
    for dataset, block in results["datasets"].items():
        sentences = [*_best(results["metric"], block), *sensitivity_sentences(block)]
        found += [f"{dataset}: {sentence}" if several else sentence for sentence in sentences]
    return found


def _best(metric: str, block: Mapping[str, Any]) -> Iterator[str]:
    for protocol, facts in block["protocols"].items():
        values = {
            name: method["metrics"][protocol][metric]
            for name, method in block["methods"].items()
            if protocol in method["metrics"]
        }
        best = max(values, key=lambda name: float(values[name]["value"]))
        value = values[best]
        sentence = (
            f"Under {protocol}, {best} is the best: {metric} {percent(value['value'])} % "
            f"[{percent(value['low'])}, {percent(value['high'])}]"
        )
        test = facts["tests"].get(best)
        if test is not None:
            verdict = "significant" if test["corrected_p_value"] < LEVEL else "not significant"
            sentence += (
                f", {100 * test['difference']:+.2f} points against {facts['first']}, {verdict} "
                f"(p {test['corrected_p_value']:.4f})"
            )
        yield f"{sentence}."
