"""Ask every rule, and rank what they find."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnnlab.doctor import fit, labels, pixels, rate, signal, splits
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, NotMeasured

Rule = Callable[[Facts], Finding | None]
RULES: tuple[Rule, ...] = (*rate.RULES, *signal.RULES, *fit.RULES, *pixels.RULES, *labels.RULES, *splits.RULES)
# Faults that others may bring about. Where both are found, the cause comes first.
FAULTS_OF_SIGNAL = ("gradients_explode", "dead_relus", "saturated_units", "softmax_before_loss", "layers_not_learning")
FAULTS_OF_IMAGES = ("pixels_not_normalized", "broken_inputs", "shuffled_labels", "images_not_shuffled")
CAUSES = {
    "rate_diverges": ("pixels_not_normalized", "gradients_explode", "warmup_missing"),
    "rate_oscillates": (
        "warmup_missing",
        "pixels_not_normalized",
        "gradients_explode",
        "images_not_shuffled",
        "tiny_batches",
    ),
    "rate_too_low": ("gradients_vanish", "underflow", "rate_ended_early", "lagging_weights", *FAULTS_OF_SIGNAL),
    "warmup_missing": ("pixels_not_normalized", "gradients_explode"),
    "decay_too_strong": ("rate_diverges",),
    "gradients_explode": ("pixels_not_normalized",),
    "gradients_vanish": ("pixels_not_normalized", "dead_relus", "saturated_units", "softmax_before_loss"),
    "dead_relus": (
        "rate_diverges",
        "rate_oscillates",
        "gradients_explode",
        "pixels_not_normalized",
        "warmup_missing",
    ),
    "saturated_units": ("rate_diverges", "rate_oscillates", "pixels_not_normalized", "warmup_missing"),
    "overfitting": ("shuffled_labels", "leaked_images"),
    "shuffled_labels": ("broken_inputs",),
    "leaked_images": ("broken_inputs",),  # one image over and over
    "largest_class": ("rate_diverges", "rate_too_low", "gradients_vanish", *FAULTS_OF_SIGNAL, *FAULTS_OF_IMAGES),
    "underfitting": (
        *("rate_diverges", "rate_oscillates", "rate_too_low", "rate_ended_early", "warmup_missing", "decay_too_strong"),
        *("gradients_vanish", "tiny_batches", "lagging_weights", "underflow", "largest_class", "flips_change_class"),
        *(*FAULTS_OF_SIGNAL, *FAULTS_OF_IMAGES),
    ),
}
LEAST = 0.3  # confidence; what is less sure is not told
SURE_CAUSE = 0.6  # confidence in a cause from which on what it brings about is told after it
AFTER_ITS_CAUSE = 0.9  # factor on the confidence of the cause, which its effect does not exceed


@dataclass(frozen=True)
class Diagnosis:
    """What the rules have found, most likely first, and what could not be measured."""

    findings: Sequence[Finding]
    not_measured: Mapping[str, Sequence[str]]  # reasons, each with the faults that it keeps from being found

    def causes(self, finding: Finding) -> list[Finding]:
        """Return the findings before this one that may have brought it about."""
        before = self.findings[: self.findings.index(finding)]
        return [one for one in before if one.fault in CAUSES.get(finding.fault, ()) and one.confidence >= SURE_CAUSE]


def diagnose(facts: Facts) -> Diagnosis:
    """Ask every rule, and rank the findings by their confidence, effects after their causes."""
    found: dict[str, Finding] = {}
    reasons: dict[str, list[str]] = {}
    for rule in RULES:
        try:
            if (finding := rule(facts)) and finding.confidence >= LEAST:
                found[finding.fault] = finding
        except NotMeasured as error:
            reasons.setdefault(str(error), []).append(rule.__name__)

    def rank(finding: Finding) -> float:
        causes = [found[cause].confidence for cause in CAUSES.get(finding.fault, ()) if cause in found]
        return min([finding.confidence, *(AFTER_ITS_CAUSE * causing for causing in causes if causing >= SURE_CAUSE)])

    return Diagnosis(sorted(found.values(), key=rank, reverse=True), reasons)
