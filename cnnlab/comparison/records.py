"""Hold the results of a comparison as plain values that tables, figures, the page and JSON read.

Accuracies are fractions, costs are medians over the runs, and None stands for what is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

CurvePoint = tuple[float, float, float | None, float | None]  # training images, accuracy, bounds of its interval


@dataclass(frozen=True)
class GroupRecord:
    """Results of the runs of one group, which differ in the seed alone, or in seed and fold."""

    figure: str  # key of the runs' records that is compared, such as `test_accuracy`
    label: str
    model: str
    recipe: str
    data: str
    settings: dict[str, Any]  # those that differ from other groups with the same model, recipe and data
    n: int  # number of runs
    seeds: list[Any]
    mean: float  # of the figure over the runs
    sd: float | None  # standard deviation of the figure over the runs
    low: float | None  # bounds of the 95 % interval of the mean
    high: float | None
    interval: str | None  # method of the interval
    best: float  # highest value of the figure
    best_run: str  # directory of that run
    val_accuracy: float | None
    test_accuracy_tta: float | None  # with test-time augmentation
    corrupted: float | None  # accuracy on corrupted images, mean over kinds, severities and runs
    together: float | None  # test accuracy of the mean probabilities of all runs
    parameters: float | None
    macs: float | None
    train_seconds: float | None
    epochs: float | None
    images_per_second: float | None
    peak_memory_bytes: float | None
    devices: list[str]
    targets: list[dict[str, Any]]  # one of `time_to_value.target_times` for each target accuracy
    reach: dict[str, Any] | None  # of `time_to_value.reach_times`, with ratios
    choice: dict[str, Any] | None  # fields of `selection.Choice`
    place: float | None  # on the axis that accuracy is drawn against
    line: str | None  # name of the line that joins the group with others on that axis
    shift: dict[str, Any] | None  # how predictions change if the test images are moved
    maps: list[int] | None  # side lengths of the feature maps, in pixels
    published: list[dict[str, Any]]  # accuracy and source of published results
    front: list[str]  # costs for which the group is on the Pareto front
    per_class: list[float] | None
    confusion: list[list[float]] | None  # images by true class (rows) and predicted class (columns), mean over runs
    curve: dict[str, Any]  # metrics by epoch: mean, lowest and highest over the runs
    runs: list[dict[str, Any]]  # path, seed and all numbers of each run's summary

    @property
    def settings_text(self) -> str:
        """Return the settings that differ, such as `optimizer.lr=0.1, trainer.max_epochs=60`."""
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())

    def median(self, key: str) -> float | None:
        """Return the median over the runs of a number in their summaries, such as `steps`."""
        values = [run[key] for run in self.runs if run.get(key) is not None]
        return median(values) if values else None

    def mean_of(self, key: str) -> float | None:
        """Return the mean over the runs of a number in their summaries, or None if one of them lacks it."""
        values = [run[key] for run in self.runs if key in run]
        return mean(values) if len(values) == self.n else None

    def thinned_curve(self, points: int) -> dict[str, Any]:
        """Return the curve with so many epochs at most, evenly spread, and values of five digits."""
        last = len(self.curve["epoch"]) - 1
        places = range(last + 1) if last < points else [round(last * i / (points - 1)) for i in range(points)]

        def thin(values: Any) -> Any:
            if isinstance(values, dict):
                return {name: thin(its) for name, its in values.items()}
            return [None if (value := values[place]) is None else float(f"{value:.5g}") for place in places]

        return thin(self.curve)


@dataclass(frozen=True)
class PairRecord:
    """Difference between two groups of a section; `a` is the one with the higher mean accuracy."""

    a: str
    b: str
    difference: float  # mean figure of a minus that of b
    low: float | None  # bounds of the 95 % interval of the difference
    high: float | None
    interval: str | None  # method of the interval
    seeds: dict[str, float] | None  # test over the seeds: difference, low, high, p, p_holm
    images: dict[str, float] | None  # test over the test images
    joint: dict[str, float] | None  # test over seeds and images at once, or over folds
    power: dict[str, Any] | None  # of `power.PairPlan`: what this comparison can show
    significant: list[str]  # those of the three tests that show that a is better
    verdict: str
    only_a: int | None  # test images that most runs of a classify correctly and most runs of b do not
    only_b: int | None
    only_a_images: list[dict[str, int]]  # the clearest of them: image, true class, predicted class
    only_b_images: list[dict[str, int]]

    @property
    def sides(self) -> tuple[tuple[str, str, int | None, list[dict[str, int]]], ...]:
        """Return for each group its name, that of the other, and the images that only it classifies correctly."""
        first = self.a, self.b, self.only_a, self.only_a_images
        return first, (self.b, self.a, self.only_b, self.only_b_images)


@dataclass(frozen=True)
class ImagesCurve:
    """Accuracy of groups that differ in the fraction of the training images alone, in the figure that is compared."""

    label: str  # of the groups, without the fraction
    images: list[int]  # training images of each run
    accuracies: list[float]  # of each run
    law: dict[str, float]  # a, b and c of the error, a * images^-b + c
    curve: list[CurvePoint]
    twice: CurvePoint  # for twice the most images
    foretold: CurvePoint | None  # for the most images, from the smaller sizes alone
    sentence: str


@dataclass(frozen=True)
class SectionRecord:
    """Results of the groups that share protocol and images."""

    figure: str  # key of the runs' records that is compared
    folds: int  # of a cross-validation, whose held-out images take the test images' place; 0 for none
    protocol: str
    data: list[str]
    fingerprint: str
    test_images: int | None
    classes: list[str]
    groups: list[GroupRecord]  # the most accurate first
    pairs: list[PairRecord]
    reference: dict[str, Any] | None  # a published learning curve beside those of the groups
    by_images: list[ImagesCurve]  # accuracy over the number of training images

    @property
    def title(self) -> str:
        """Such as `digits, 299 test images`; of a cross-validation or protocol `article` it says so."""
        images = [] if self.test_images is None else [f"{self.test_images:,} test images"]
        images = [f"{self.folds} folds of the training images"] if self.folds else images
        protocol = [] if self.protocol == "holdout" else [f"protocol {self.protocol}"]
        return ", ".join([*self.data, *images, *protocol])

    @property
    def small_print(self) -> str:
        """Return what identifies the images, such as `protocol holdout, images 78ca4baed049af7a`."""
        return f"protocol {self.protocol}, images {self.fingerprint}"

    @property
    def runs(self) -> int:
        """Return the number of runs."""
        return sum(group.n for group in self.groups)

    @property
    def figure_words(self) -> str:
        """Return the figure in words, such as `test accuracy`, or `held-out accuracy` of a cross-validation."""
        return self.figure.replace("val_", "held-out ").replace("_", " ").replace("f1", "F1")


@dataclass(frozen=True)
class ComparisonRecord:
    """Results of a comparison, with the keys of the request that tables and figures need."""

    runs: int
    targets: list[float]
    reach: dict[str, Any] | None
    against: str | None
    axis: str | None
    shift: int
    plan: float | None  # difference in percentage points for which seeds are planned
    sections: list[SectionRecord]
    set_aside: list[dict[str, Any]]  # runs that are not counted: path, model, seed, reason
    problems: list[dict[str, str]]  # damaged records: path, problem
    notices: Sequence[str]

    @property
    def groups(self) -> list[GroupRecord]:
        """Return the groups of all sections."""
        return [group for section in self.sections for group in section.groups]
