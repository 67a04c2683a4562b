"""What an experiment asks of its runs beside which network is better: the keys of `comparison:` in its file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cnnlab.errors import RequestError
from cnnlab.instantiate import check_arguments, did_you_mean

Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
Cost = Literal["parameters", "macs", "train_seconds"]
Panel = Literal["accuracy", "axis", Cost, "train/error", "val/error", Metric]
Names = Mapping[str, Mapping[str, Any]]
QUESTION = (
    "labels",
    "choose",
    "search",
    "reach",
    "against",
    "reference",
    "axis",
    "figure",
    "maps",
    "shift",
)  # the keys


@dataclass(frozen=True)
class Reach:
    """A value of a metric: how long does it take to get there?

    Attributes:
        metric: a column of metrics.csv.
        value: an accuracy, as a fraction, that is to be reached from below, or a loss, from above.
    """

    metric: Metric
    value: float

    def met(self, value: float) -> bool:
        """Whether a value of the metric is as good as this."""
        return value <= self.value if self.metric.endswith("loss") else value >= self.value


@dataclass(frozen=True)
class Reference:
    """Somebody else's learning curve.

    Attributes:
        name: whose.
        points: value of the metric by epoch.
        metric: a column of metrics.csv.
        source: where it is printed.
    """

    name: str
    points: dict[float, float]
    metric: Metric = "val/accuracy"
    source: str | None = None


@dataclass(frozen=True)
class Axis:
    """A number for each group, which accuracy is drawn against.

    Attributes:
        name: what the numbers are, such as `year`.
        values: by the groups' labels; or the dotted key of the setting that holds them, such as `model.depth`.
        lines: names for the lines that join groups, each with the settings that its groups have.
    """

    name: str
    values: str | dict[str, float]
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        labels: names for groups, each with the settings that the group has; the first that fits is taken.
        choose: dotted key of a setting, or `recipe`: of groups that differ in it alone, the best one is kept.
        search: settings of runs that were only to find the value of `choose`, and are not compared themselves.
        reach: a value whose epochs and seconds are told.
        against: label of the group that the others' epochs and seconds are divided by; None for the best one.
        reference: a curve to stand beside the runs' own.
        axis: that accuracy is drawn against.
        figure: the panels of the figure of a result, from left to right.
        maps: whether the sizes of the feature maps are told.
        shift: pixels by which test images are moved, to see whether answers stay; 0 for none.
    """

    labels: Names = field(default_factory=dict)
    choose: str | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    reach: Reach | None = None
    against: str | None = None
    reference: Reference | None = None
    axis: Axis | None = None
    figure: tuple[Panel, ...] = ("accuracy", "val/accuracy")
    maps: bool = False
    shift: int = 0

    @property
    def names(self) -> list[Names]:
        """All names that settings are given for."""
        return [self.labels, *([self.axis.lines] if self.axis else [])]


def read_question(
    labels: dict | None = None,
    choose: str | None = None,
    search: dict | None = None,
    reach: dict | None = None,
    against: str | None = None,
    reference: dict | None = None,
    axis: dict | None = None,
    figure: list | None = None,
    maps: bool = False,
    shift: int = 0,
) -> Question:
    """Checks the values of the keys, as YAML has them; see `Question`.

    Raises:
        RequestError: for a wrong name, type or value.
    """
    check_arguments(read_question, {"labels": labels, "choose": choose, "reach": reach, "against": against})
    check_arguments(read_question, {"reference": reference, "axis": axis, "figure": figure, "maps": maps})
    check_arguments(read_question, {"shift": shift, "search": search})
    if search and choose is None:
        raise RequestError("search: choose must name the setting that was searched for, such as optimizer.lr")
    if shift < 0:
        raise RequestError(f"shift must be a number of pixels, 0 or more, got {shift}")
    for panel in figure or ():
        if panel not in get_args(Panel):
            raise RequestError(f"figure: {panel} is not a panel{did_you_mean(str(panel), get_args(Panel))}")
    if "axis" in (figure or ()) and axis is None:
        raise RequestError("figure: the panel axis needs the key axis")
    return Question(
        labels=_names(labels, "labels"),
        choose=choose,
        search=search or {},
        reach=_reach(reach) if reach else None,
        against=against,
        reference=_reference(reference) if reference else None,
        axis=_axis(axis) if axis else None,
        figure=tuple(figure) if figure else Question.figure,
        maps=maps,
        shift=shift,
    )


def read_targets(targets: list[float]) -> list[float]:
    """Checks validation accuracies to which the time is told.

    Raises:
        RequestError: when they are no list of fractions.
    """
    check_arguments(read_targets, {"targets": targets})
    if wrong := [target for target in targets if not 0 < target <= 1]:
        raise RequestError(f"targets must be fractions above 0 and up to 1, got {wrong[0]}")
    return targets


def _names(given: dict[Any, Any] | None, key: str) -> Names:
    for name, settings in (given or {}).items():
        if not isinstance(settings, dict):
            form = "{model.activation: relu}, or {} for any"
            raise RequestError(f"{key}.{name} must hold settings, such as {form}, got {settings!r}")
    return {str(name): settings for name, settings in (given or {}).items()}


def _reach(given: dict[str, Any]) -> Reach:
    reach = _made(Reach, given, "reach", ("metric", "value"))
    if reach.metric.endswith("accuracy") and not 0 < reach.value <= 1:
        raise RequestError(f"reach.value must be a fraction above 0 and up to 1, got {reach.value}")
    return reach


def _reference(given: dict[str, Any]) -> Reference:
    reference = _made(Reference, given, "reference", ("name", "points"))
    _check_numbers(reference.points, "reference.points", "an epoch and a number, such as {10: 0.481}")
    if not all(_is_number(epoch) for epoch in reference.points):
        raise RequestError("reference.points must have epochs as keys, such as {10: 0.481}")
    return reference


def _axis(given: dict[str, Any]) -> Axis:
    lines = given.get("lines")
    axis = _made(Axis, {**given, "lines": {} if lines is None else lines}, "axis", ("name", "values"))
    if isinstance(axis.values, dict):
        _check_numbers(axis.values, "axis.values", "a label and a number, such as {lenet5: 1998}")
    _names(axis.lines, "axis.lines")
    return axis


def _made(kind: Any, given: dict[str, Any], key: str, needed: tuple[str, ...]) -> Any:
    check_arguments(kind, given, key)
    for name in needed:
        if name not in given:
            raise RequestError(f"{key}.{name} must be given")
    return kind(**given)


def _check_numbers(given: Any, key: str, form: str) -> None:
    if not isinstance(given, dict) or not given or not all(_is_number(value) for value in given.values()):
        raise RequestError(f"{key} must hold {form}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
