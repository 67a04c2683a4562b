"""Read what a comparison is asked for: keys of `cnnlab compare`, or of `comparison:` in an experiment's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cnnlab.comparison.columns import COSTS
from cnnlab.errors import RequestError
from cnnlab.instantiate import check_at_least, did_you_mean, read_options

Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
Names = Mapping[str, Mapping[str, Any]]  # settings by the name of the groups that have them
PANELS = ("accuracy", "axis", *COSTS, "train/error", "val/error", *get_args(Metric))


@dataclass(frozen=True)
class Reach:
    """Value of a metric whose time is measured.

    Attributes:
        metric: a column of metrics.csv.
        value: an accuracy, as a fraction, that runs reach from below; or a loss that they reach from above.
    """

    metric: Metric
    value: float

    def __post_init__(self) -> None:
        if self.metric.endswith("accuracy") and not 0 < self.value <= 1:
            raise ValueError(f"value must be a fraction above 0 and up to 1, got {self.value}")

    def is_met_by(self, value: float) -> bool:
        """Return whether a value of the metric is at least as good."""
        return value <= self.value if self.metric.endswith("loss") else value >= self.value


@dataclass(frozen=True)
class Reference:
    """Published learning curve.

    Attributes:
        name: of whoever published it.
        points: values of the metric by epoch.
        metric: a column of metrics.csv.
        source: where it was published.
    """

    name: str
    points: dict
    metric: Metric = "val/accuracy"
    source: str | None = None

    def __post_init__(self) -> None:
        _check_numbers(self.points, "points", "an epoch and a number, such as {10: 0.481}")
        if not all(_is_number(epoch) for epoch in self.points):
            raise ValueError("points must have epochs as keys, such as {10: 0.481}")


@dataclass(frozen=True)
class Axis:
    """Number of each group that accuracy is drawn against.

    Attributes:
        name: of the numbers, such as `year`.
        values: numbers by the groups' labels; or the dotted key of the setting that holds them, such as `model.depth`.
        lines: names of lines that join groups, each with the settings of its groups.
    """

    name: str
    values: str | dict
    lines: Names = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.values, dict):
            _check_numbers(self.values, "values", "a label and a number, such as {lenet5: 1998}")
        _check_names(self.lines, "lines")


@dataclass(frozen=True)
class ComparisonSpec:
    """Request of a comparison.

    Attributes:
        targets: validation accuracies, fractions, whose time is reported.
        labels: names for groups, each with settings; a group takes the first name whose settings it has.
        choose: dotted key of a setting, or `recipe`. Of groups that differ in it alone, the best one is kept.
        search: settings of runs that only searched for the value of `choose`; they are not compared.
        reach: a value of a metric; epochs and seconds until each group reaches it are reported.
        against: label of the group that the others' epochs and seconds are divided by; None for the fastest one.
        reference: a published learning curve.
        axis: numbers that accuracy is drawn against.
        figure: panels of the figure of a result, from left to right.
        maps: whether the sizes of the feature maps are reported.
        shift: number of pixels by which test images are moved to see whether predictions change; 0 for none.
    """

    targets: list[float] = field(default_factory=list)
    labels: Names = field(default_factory=dict)
    choose: str | None = None
    search: dict = field(default_factory=dict)
    reach: Reach | None = None
    against: str | None = None
    reference: Reference | None = None
    axis: Axis | None = None
    figure: list[str] = field(default_factory=lambda: ["accuracy", "val/accuracy"])
    maps: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if wrong := [target for target in self.targets if not 0 < target <= 1]:
            raise ValueError(f"targets must be fractions above 0 and up to 1, got {wrong[0]}")
        _check_names(self.labels, "labels")
        if self.search and self.choose is None:
            raise ValueError("search: choose must name the setting that was searched for, such as optimizer.lr")
        check_at_least(0, shift=self.shift)
        for panel in self.figure:
            if panel not in PANELS:
                raise ValueError(f"figure: {panel} is not a panel{did_you_mean(panel, PANELS)}")
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
