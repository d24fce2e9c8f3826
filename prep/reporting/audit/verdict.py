"""The findings of an audit, and what they make of the dataset for a paper."""

from collections.abc import Callable, Iterator

from prep.reporting.audit.bots import find_bots
from prep.reporting.audit.cold import find_cold
from prep.reporting.audit.drift import find_drift
from prep.reporting.audit.duplicates import find_duplicates
from prep.reporting.audit.leakage import find_leakage
from prep.reporting.audit.near import find_near
from prep.reporting.audit.ties import find_ties
from prep.reporting.audit.times import find_times
from prep.reporting.finding import SEVERITIES, Facts, Finding, Fitness
from toolkit.cuts import MIN_INTERACTIONS

LINES: dict[Fitness, str] = {
    "fit": "fit for a paper",
    "caution": "fit for a paper with caution",
    "unfit": "not fit for a paper",
}
WORST: tuple[Fitness, ...] = ("unfit", "caution", "fit")


def conclude(audit: Facts) -> Facts:
    """The findings, most severe first, and the verdict.

    Args:
        audit: facts of `prep.reporting.audit.describe`.

    Returns:
        findings: as `prep.reporting.finding.Finding`. verdict: `fitness`, `line` in words, and as `reasons` the kinds of
        the findings that decide it.
    """
    findings = [finding for check in CHECKS for finding in check(audit)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    fitness: Fitness = next(
        (level for level in WORST if any(finding.fitness == level for finding in findings)), "fit"
    )
    decisive = [f.kind for f in findings if f.fitness == fitness and fitness != "fit"]
    reasons = list(dict.fromkeys(decisive))  # a kind can be found in several towers
    return {
        "findings": [finding._asdict() for finding in findings],
        "verdict": {"fitness": fitness, "line": LINES[fitness], "reasons": reasons},
    }


def _find_untrainable(audit: Facts) -> Iterator[Finding]:
    if audit["users_in_splits"] == 0:
        yield Finding(
            "error",
            "nothing_to_train",
            f"No user has {MIN_INTERACTIONS} interactions with known items, so nothing can be trained",
            "check that the files of interactions and of titles are of the same release",
            "there is no result",
            "unfit",
        )


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _find_untrainable,
    find_times,
    find_duplicates,
    find_ties,
    find_leakage,
    find_near,
    find_drift,
    find_cold,
    find_bots,
)
