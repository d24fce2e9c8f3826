"""Summary sentences of the report of a run, shown at its top."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.measures import number

Facts = Mapping[str, Any]


def find(facts: Facts) -> list[str]:
    """The sentences."""
    parts = (_recognition, _constant, _calibration, _identity, _texts, _elsewhere)
    return [sentence for part in parts for sentence in part(facts)]


def always_active(rate: float) -> float:
    """F1 of calling every face active, the highest of a constant answer: 2 q / (1 + q).

    Args:
        rate: q, the share of active faces.
    """
    return 2 * rate / (1 + rate)


def _recognition(facts: Facts) -> Iterator[str]:
    test = facts["test"]
    if facts["shuffled"]:
        yield "A control: the network was trained on shuffled labels."
    yield (
        f"F1 is {interval(test['F1'])} over {number(len(test['aus']), 'action unit')}, on {number(test['faces'], 'face')} of "
        f"{number(test['subjects'], 'subject')} that were not trained on."
    )
    by_f1 = sorted(test["per_au"].items(), key=lambda pair: float(pair[1]["F1"]["value"]))
    (worst, low), (best, high) = by_f1[0], by_f1[-1]
    yield (
        f"It is highest for {_named(facts, best)}, {percent(high['F1']['value'])}, and lowest for {_named(facts, worst)}, "
        f"{percent(low['F1']['value'])}."
    )


def _constant(facts: Facts) -> Iterator[str]:
    """AUs whose recognition is no better than a constant."""
    useless = [
        name
        for name, one in facts["test"]["per_au"].items()
        if one["rate"] is not None and one["F1"]["low"] <= always_active(one["rate"])
    ]
    if useless:
        yield (
            f"For {number(len(useless), 'action unit')}, F1 is not surely above that of calling every face active: "
            f"{', '.join(useless)}."
        )


def _calibration(facts: Facts) -> Iterator[str]:
    test = facts["test"]
    if test["ECE"] is not None and test["ECE_calibrated"] is not None:
        yield (
            f"The expected calibration error is {percent(test['ECE'])}, and {percent(test['ECE_calibrated'])} with "
            f"temperatures that were fitted on {test['calibrated_on']}."
        )


def _identity(facts: Facts) -> Iterator[str]:
    probe = facts["test"]["identity"]
    if probe:
        yield (
            f"A linear probe of the features names the person of {percent(probe['accuracy'])} of the faces; chance is "
            f"{percent(probe['chance'])}."
        )


def _texts(facts: Facts) -> Iterator[str]:
    texts = facts["test"]["texts"]
    if "au_texts" in texts and texts["au_texts"]["agreement"] is not None:
        agreement = percent(texts["au_texts"]["agreement"])
        yield f"{agreement} of the texts about action units state what the classifier states."
    if "face_texts" in texts and texts["face_texts"]["agreement"] is not None:
        agreement = percent(texts["face_texts"]["agreement"])
        yield f"{agreement} of the texts about faces name the recognised action units, all and no other."


def _elsewhere(facts: Facts) -> Iterator[str]:
    """Tests on other datasets, beside the own test on the same AUs."""
    per_au = facts["test"]["per_au"]
    for other in facts["cross"]:
        own = [per_au[name]["F1"]["value"] for name in other["per_au"]]
        yield (
            f"On {other['dataset']['name']}, F1 is {interval(other['F1'])} over the {len(own)} action units that both have; "
            f"on the own test, these have {percent(sum(own) / len(own))}."
        )


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.7053)
    '70.5 %'
    """
    return f"{100 * share:.1f} %"


def interval(metric: Mapping[str, float]) -> str:
    """A share with its 95% interval, in percent."""
    return f"{percent(metric['value'])} [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"


def _named(facts: Facts, column: str) -> str:
    return f"{column} ({facts['names'][column]})"
