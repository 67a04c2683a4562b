"""Say what a finding is, and what the faults are called."""

from dataclasses import dataclass

# Faults by subject, with their titles in plain words.
FAULTS = {
    "rate_diverges": "the learning rate is too high: training diverges",
    "rate_oscillates": "the learning rate is too high: a lower one learns more",
    "rate_too_low": "the learning rate is too low",
    "rate_ended_early": "the learning rate ended too early",
    "warmup_missing": "the first steps need a lower learning rate (warm-up)",
    "decay_too_strong": "the weight decay is too strong",
    "underflow": "the number format rounds the updates away",
    "gradients_vanish": "the gradients vanish on their way to the first layers",
    "gradients_explode": "the gradients explode",
    "dead_relus": "ReLUs are dead",
    "saturated_units": "activation functions are saturated",
    "softmax_before_loss": "the network ends in a softmax, and the loss has its own",
    "layers_not_learning": "some layers do not learn",
    "tiny_batches": "the batches are too small for batch norm",
    "lagging_weights": "the evaluated weights or statistics lag behind those that were trained",
    "overfitting": "overfitting: the network learns its images by heart",
    "underfitting": "underfitting: the network has not learned its own training images",
    "selected_on_test": "the best epoch was chosen on the test images",
    "pixels_not_normalized": "the pixels are not normalized",
    "broken_inputs": "images are constant or broken",
    "shuffled_labels": "labels do not belong to their images",
    "exchanged_classes": "classes have each other's names in one of the splits",
    "leaked_images": "the same images are in training and evaluation",
    "images_not_shuffled": "the training images are not shuffled",
    "largest_class": "the answer is always the largest class",
    "flips_change_class": "the augmentation changes the class of an image",
}


class NotMeasured(Exception):
    """Says why a probe could not be measured. A rule lets it pass; the report tells of it."""


@dataclass(frozen=True)
class Where:
    """Place in the curves that shows a fault."""

    curve: str  # column of metrics.csv, such as `train/loss`
    first: float  # epochs, from 1
    last: float


@dataclass(frozen=True)
class Finding:
    """Fault that a rule has found."""

    fault: str  # a key of FAULTS
    confidence: float  # from 0 to 1
    evidence: str  # a sentence with the figures that the finding rests on
    advice: str  # a sentence: what to try
    command: str  # a command that would mend it, or test it
    where: Where | None = None

    @property
    def title(self) -> str:
        """Name of the fault in plain words."""
        return FAULTS[self.fault]


def sure(ratio: float, most: float, least: float) -> float:
    """Return a confidence from `least`, where a ratio is 1, to `most`, where it is 0."""
    return least + (most - least) * (1 - min(1.0, max(0.0, ratio)))
