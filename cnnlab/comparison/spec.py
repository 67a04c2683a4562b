"""Read what a comparison is asked for: keys of `cnnlab compare`, or of `comparison:` in an experiment's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cnnlab.comparison.columns import COSTS
from cnnlab.errors import RequestError
from cnnlab.instantiate import read_options
from cnnlab.limits import Whole
from cnnlab.words import did_you_mean

Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/balanced_accuracy", "val/macro_f1"]
Figure = Literal["accuracy", "balanced_accuracy", "macro_f1"]
Names = Mapping[str, Mapping[str, Any]]  # settings by the name of the groups that have them
PANELS = ("accuracy", "axis", *COSTS, "train/error", "val/error", *get_args(Metric))


@dataclass(frozen=True)
class Reach:
    """Value of a metric whose time is measured."""

    metric: Metric
    value: float  # an accuracy, as a fraction, that runs reach from below; or a loss that they reach from above

    def __post_init__(self) -> None:
        if not self.metric.endswith("loss") and not 0 < self.value <= 1:
            raise ValueError(f"value must be a fraction above 0 and up to 1, got {self.value}")

    def is_met_by(self, value: float) -> bool:
        """Return whether a value of the metric is at least as good."""
        return value <= self.value if self.metric.endswith("loss") else value >= self.value


@dataclass(frozen=True)
class Reference:
    """Published learning curve."""

    name: str  # of whoever published it
    points: dict  # values of the metric by epoch
    metric: Metric = "val/accuracy"
    source: str | None = None  # where it was published

    def __post_init__(self) -> None:
        _check_numbers(self.points, "points", "an epoch and a number, such as {10: 0.481}")
        if not all(_is_number(epoch) for epoch in self.points):
            raise ValueError("points must have epochs as keys, such as {10: 0.481}")


@dataclass(frozen=True)
class Axis:
    """Number of each group that accuracy is drawn against."""

    name: str  # of the numbers, such as `year`
    # By the groups' labels or networks; or the dotted key of the setting that holds them, such as `model.depth`.
    values: str | dict
    lines: Names = field(default_factory=dict)  # that join groups, each with the settings of its groups

    def __post_init__(self) -> None:
        if isinstance(self.values, dict):
            _check_numbers(self.values, "values", "a label and a number, such as {lenet5: 1998}")
        _check_names(self.lines, "lines")


@dataclass(frozen=True)
class ComparisonSpec:
    """Request of a comparison."""

    value: Figure | None = None  # what is compared; None for what chose the best epochs, the accuracy for a loss
    targets: list[float] = field(default_factory=list)  # values in validation, fractions, whose time is reported
    labels: Names = field(default_factory=dict)  # a group takes the first name whose settings it has
    choose: str | None = None  # dotted key, or `recipe`; of groups that differ in it alone, the best one is kept
    search: dict = field(default_factory=dict)  # settings of runs that only searched for `choose`; not compared
    reach: Reach | None = None  # epochs and seconds until each group reaches it are reported
    against: str | None = None  # label of the group that the others' times are divided by; None for the fastest one
    reference: Reference | None = None
    axis: Axis | None = None
    figure: list[str] = field(default_factory=lambda: ["accuracy", "val/accuracy"])  # panels of a result's figure
    maps: bool = False  # whether the sizes of the feature maps are reported
    plan: float | None = None  # difference in percentage points; the seeds that would show it are reported
    shift: Whole = 0  # pixels by which test images are moved to see whether predictions change; 0 for none

    def __post_init__(self) -> None:
        if wrong := [target for target in self.targets if not 0 < target <= 1]:
            raise ValueError(f"targets must be fractions above 0 and up to 1, got {wrong[0]}")
        if self.plan is not None and not 0 < self.plan <= 100:
            raise ValueError(f"plan must be a difference in percentage points, such as 0.5, got {self.plan}")
        _check_names(self.labels, "labels")
        if self.search and self.choose is None:
            raise ValueError("search: choose must name the setting that was searched for, such as optimizer.lr")
        if unknown := [panel for panel in self.figure if panel not in PANELS]:
            raise ValueError(f"figure: {unknown[0]} is not a panel{did_you_mean(unknown[0], PANELS)}")
        if "axis" in self.figure and self.axis is None:
            raise ValueError("figure: the panel axis needs the key axis")

    @property
    def names(self) -> list[Names]:
        """Return all names that stand for settings."""
        return [self.labels, *([self.axis.lines] if self.axis else [])]


def read_spec(values: Mapping[str, Any]) -> ComparisonSpec:
    """Read the keys of a comparison from YAML; keys of somebody else are ignored, null means the default.

    Raises:
        RequestError: for a wrong name, type or value.
    """
    given = {key: value for key, value in values.items() if value is not None}
    for key, kind in (("reach", Reach), ("reference", Reference), ("axis", Axis)):
        if key in given:
            if not isinstance(given[key], dict):
                raise RequestError(f"{key} must hold keys and values, got {given[key]!r}")
            given[key] = read_options(kind, {k: v for k, v in given[key].items() if v is not None}, key)
    if isinstance(given.get("labels"), dict):
        given["labels"] = {str(name): settings for name, settings in given["labels"].items()}
    return read_options(ComparisonSpec, given)


def _check_names(names: Any, key: str) -> None:
    if not isinstance(names, dict):
        raise ValueError(f"{key} must hold names and their settings, got {names!r}")
    for name, settings in names.items():
        if not isinstance(settings, dict):
            form = "{model.activation: relu}, or {} for any"
            raise ValueError(f"{key}.{name} must hold settings, such as {form}, got {settings!r}")


def _check_numbers(given: Any, key: str, form: str) -> None:
    if not isinstance(given, dict) or not given or not all(_is_number(value) for value in given.values()):
        raise ValueError(f"{key} must hold {form}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
