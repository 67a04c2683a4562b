"""Ask every rule, and rank what they find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnlab.doctor import fit, labels, pixels, rate, signal, splits
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, NotMeasured

Rule = Callable[[Facts], Finding | None]
RULES: tuple[Rule, ...] = (*rate.RULES, *signal.RULES, *fit.RULES, *pixels.RULES, *labels.RULES, *splits.RULES)


@dataclass(frozen=True)
class Diagnosis:
    """What the rules have found, most likely first, and what could not be measured."""

    findings: Sequence[Finding]
    not_measured: Sequence[str]  # reasons, each once


def diagnose(facts: Facts) -> Diagnosis:
    """Ask every rule, and rank the findings by their confidence."""
    findings, reasons = [], {}
    for rule in RULES:
        try:
            if found := rule(facts):
                findings.append(found)
        except NotMeasured as error:
            reasons[str(error)] = rule.__name__
    return Diagnosis(sorted(findings, key=lambda found: -found.confidence), list(reasons))
