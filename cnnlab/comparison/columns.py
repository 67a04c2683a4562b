"""Define every column of a comparison once, for tables, the CSV file, the terminal, the page and the figures."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cnnlab.comparison.records import ComparisonRecord, GroupRecord, PairRecord

TableName = Literal["accuracy", "reach", "moved", "maps", "cost", "pairs"]
MISSING = "-"


@dataclass(frozen=True)
class Column:
    """One figure of every group, or of every pair of groups: an entry of `GROUP_COLUMNS` or `PAIR_COLUMNS`."""

    key: str  # its name in the CSV file
    # In tables; `{figure}`, `{axis}`, `{reach}`, `{against}` and `{pixels}` stand for values of the request.
    heading: str
    value: Callable[[Any], Any] | None = None  # of a record, None if not known; by default the record's attribute `key`
    form: str | Callable[[Any], str] = "{}"  # makes a cell's text from the value
    text: Callable[[Any], str] | None = None  # makes a cell's text from the record
    sort: Callable[[Any], Any] | None = None  # returns what tables are sorted by; by default the value
    table: TableName | None = "accuracy"  # the table that shows it; None for the CSV file alone
    explanation: str = ""  # for readers; reports list it at the end, and the page shows it beside the heading
    terminal: str = ""  # heading on the terminal; empty if it is not shown there
    wide: bool = False  # True if only a wide terminal shows it
    cost_label: str = ""  # label of an axis, for a cost that accuracy is drawn against
    more: Sequence[str] = ()  # attributes of the record that the CSV file has in further columns
    requires: str = ""  # key of the request without which there is no such column

    def of(self, record: GroupRecord | PairRecord) -> Any:
        """Return the value of a record."""
        return self.value(record) if self.value else getattr(record, self.key)

    def cell(self, record: GroupRecord | PairRecord) -> str:
        """Return the text of a table's cell."""
        if self.text:
            return self.text(record)
        value = self.of(record)
        return MISSING if value is None else self.form.format(value) if isinstance(self.form, str) else self.form(value)

    def sort_key(self, record: GroupRecord | PairRecord) -> Any:
        """Return a number or text that tables are sorted by."""
        return (self.sort or self.of)(record)


def group_columns(record: ComparisonRecord) -> list[Column]:
    """Return the columns of all groups that a request asks for."""
    wanted = [column for column in GROUP_COLUMNS if not column.requires or getattr(record, column.requires)]
    for place, target in enumerate(record.targets):
        wanted += _target_columns(place, target)
    return wanted


def pair_columns(record: ComparisonRecord) -> list[Column]:
    """Return the columns of all pairs that a request asks for."""
    return [column for column in PAIR_COLUMNS if not column.requires or getattr(record, column.requires)]


# --- text ------------------------------------------------------------------------------------------------------------


def percent(value: float | None, form: str = "{:.2f}") -> str:
    """Return a fraction in percent."""
    return MISSING if value is None else form.format(100 * value)


def short(value: float | None) -> str:
    """Return a count with three digits and a unit."""
    if value is None:
        return MISSING
    unit, scale = next(((u, s) for u, s in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= 0.9995 * s), ("", 1))
    return f"{value / scale:.3g} {unit}".rstrip()


def p_value(test: Mapping[str, float] | None) -> str:
    """Return the corrected p-value of a test."""
    return MISSING if test is None else f"{test['p_holm']:.3f}" if test["p_holm"] >= 0.001 else "< 0.001"


def interval(record: GroupRecord | PairRecord, form: str = "{:.2f}") -> str:
    """Return a confidence interval in percent, marked with ° if it is over images and not over seeds."""
    if record.low is None:
        return MISSING
    mark = "" if re.search("seeds|folds", str(record.interval)) else "°"
    return f"{percent(record.low, form)} to {percent(record.high, form)}{mark}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 run` or `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some_runs(count: int, runs: int) -> str:
    """Return how many of the runs there are if it is not all of them."""
    return f" ({count} of {runs})" if count < runs else ""


def _kind_column(kind: str, heading: str, explanation: str, **more: Any) -> Column:
    """Return the column of a figure beside the compared one, on the same images; tables leave the compared one out."""

    def value(group: GroupRecord) -> float | None:
        return group.mean_of(f"{group.figure.partition('_')[0]}_{kind}")

    def text(group: GroupRecord) -> str:
        return MISSING if group.figure.partition("_")[2] == kind else percent(value(group))

    return Column(kind, heading, value, text=text, explanation=explanation, **more)


def _accuracy(group: GroupRecord) -> str:
    return percent(group.mean) + ("" if group.sd is None else f" ± {percent(group.sd)}")


def _corrupted(group: GroupRecord) -> str:
    if group.corrupted is None:
        return MISSING
    clean = group.mean_of(f"{group.figure.partition('_')[0]}_accuracy")
    return percent(group.corrupted) + (f" ({group.corrupted / clean:.0%})" if clean else "")


def _needs(pair: PairRecord) -> str:
    if not pair.power:
        return MISSING
    seeds, surer = (pair.power["needs"][power]["seeds"] for power in (0.8, 0.95))
    return f"{seeds or 'more images'} ({surer or 'more images'})"


# --- the columns -----------------------------------------------------------------------------------------------------


def _reach_columns(name: str) -> list[Column]:
    def time(group: GroupRecord) -> str:
        reach = group.reach or {}
        if not reach["reached"]:
            return f"none of {group.n}"
        spread = "" if reach[f"{name}_sd"] is None else f" ± {reach[f'{name}_sd']:,.1f}"
        return f"{reach[name]:,.1f}{spread}{some_runs(reach['reached'], group.n)}"

    def ratio(group: GroupRecord) -> str:
        value, bounds = ((group.reach or {})[key] for key in (f"{name}_ratio", f"{name}_ratio_interval"))
        interval = f" ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else ""
        return MISSING if value is None else f"{value:.2f}{interval}"

    return [
        Column(
            f"{name}_to_reach", f"{name} to {{reach}}", lambda group: group.reach[name], text=time, table="reach",
            sort=lambda group: group.reach[name] if group.reach["reached"] else math.inf, requires="reach",
            explanation=f"{name} of training until this value was first reached.",
        ),
        Column(
            f"{name}_ratio", "ratio to {against}", lambda group: group.reach[f"{name}_ratio"], text=ratio,
            table="reach", requires="reach", explanation=f"these {name} divided by those of the group that is named.",
        ),
    ]  # fmt: skip


def _moved_column(key: str, heading: str, form: str, explanation: str) -> Column:
    return Column(
        f"moved_{key}", heading, lambda group: group.shift[key], form, table="moved", requires="shift",
        explanation=explanation,
    )  # fmt: skip


def _target_columns(place: int, target: float) -> list[Column]:
    def text(group: GroupRecord) -> str:
        entry = group.targets[place]
        if not entry["reached"]:
            return MISSING
        some = f"; {entry['reached']} of {group.n} runs" if entry["reached"] < group.n else ""
        return f"{entry['seconds']:,.{0 if entry['seconds'] >= 10 else 1}f} s (epoch {entry['epoch']:g}{some})"

    return [
        Column(
            f"seconds_to_{target:g}", f"{100 * target:g} % reached after",
            lambda group: group.targets[place]["seconds"], text=text, table="cost",
            explanation="seconds of training and epoch after which the compared figure was first that high in "
            "validation: medians over the runs that reached it.",
        ),
        Column(f"epochs_to_{target:g}", "", lambda group: group.targets[place]["epoch"], table=None),
        Column(f"runs_to_{target:g}", "", lambda group: group.targets[place]["reached"], table=None),
    ]  # fmt: skip


GROUP_COLUMNS: tuple[Column, ...] = (
    Column("n", "n", terminal="n", explanation="number of runs, each with another seed or fold."),
    Column("place", "{axis}", form="{:g}", requires="axis", explanation="as the experiment says."),
    Column(
        "mean", "{figure}, %", text=_accuracy, terminal="{figure}", more=["sd"],
        explanation="mean over the runs ± standard deviation.",
    ),
    Column(
        "low", "95 % interval", text=interval, terminal="95 %", more=["high", "interval"],
        explanation="of this mean, by Student's t over the seeds. It says nothing about other test images. Over folds "
        "it is enlarged for the training images that the runs share (Nadeau and Bengio 2003). Marked with °, it is "
        "Wilson's interval over the test images, for a single run or runs that are all equal. It "
        "says nothing about other seeds.",
    ),
    Column(
        "best", "best", text=lambda group: percent(group.best if group.n > 1 else None), more=["best_run"],
        explanation="highest figure among the runs: the luckiest one; do not report it.",
    ),
    _kind_column("accuracy", "accuracy, %", "share of the images that is recognized, mean over the runs."),
    _kind_column(
        "balanced_accuracy", "balanced accuracy, %",
        "mean over the classes of the share of their images that is recognized, and over the runs.",
        terminal="balanced", wide=True,
    ),
    _kind_column(
        "macro_f1", "macro F1, %",
        "mean over the classes of F1, the harmonic mean of precision and recall, and over the runs.",
    ),
    _kind_column(
        "largest_class", "always the largest class, %",
        "accuracy of always answering the class with the most test images.",
    ),
    Column(
        "test_accuracy_tta", "with test-time augmentation, %", form=percent,
        explanation="accuracy of the mean answer to each test image and changed copies of it, as its mirror image.",
    ),
    Column(
        "together", "all runs together, %", form=percent,
        explanation="accuracy of the mean probabilities of all runs of the group: what its networks are worth as one.",
    ),
    Column(
        "corrupted", "on corrupted images, %", text=_corrupted,
        explanation="mean accuracy over kinds and severities of `cnnlab evaluate corruptions=true`, if all runs were "
        "evaluated so, and in brackets its share of the test accuracy.",
    ),
    Column(
        "published", "published, %", lambda group: " ".join(f"{entry['accuracy']:.4f}" for entry in group.published),
        text=lambda group: ", ".join(percent(entry["accuracy"]) for entry in group.published) or MISSING,
        sort=lambda group: max((entry["accuracy"] for entry in group.published), default=None),
        explanation="accuracy that a paper or page reports for this network, with its own training.",
    ),
    Column("val_accuracy", "", table=None),
    *_reach_columns("epochs"),
    *_reach_columns("seconds"),
    Column(
        "parameters", "parameters", form=short, table="cost", terminal="params", cost_label="parameters",
        explanation="numbers that training sets: weights, biases, and those of normalization layers.",
    ),
    Column(
        "macs", "MACs", form=short, table="cost", terminal="MACs", wide=True, cost_label="MACs per image",
        explanation="multiplications, each with an addition, that the network needs for one image.",
    ),
    Column(
        "train_seconds", "seconds", form=short, table="cost", terminal="seconds", cost_label="seconds of training",
        explanation="duration of a training with its validations; compare it on one device only.",
    ),
    Column("epochs", "epochs", form=short, table="cost", explanation="passes through the training images."),
    Column(
        "images_per_second", "images/s", form=short, table="cost", terminal="images/s", wide=True,
        explanation="training images per second.",
    ),
    Column(
        "peak_memory_bytes", "memory", form=lambda used: f"{used / 1e9:.2f} GB", table="cost",
        explanation="highest use of memory during training, of the device or else of the process.",
    ),
    _moved_column(
        "same_answer", "same prediction after a move of {pixels}", "{:.2%}", "share of the test images and moves."
    ),
    _moved_column("accuracy", "accuracy on moved images", "{:.2%}", "share of the moved images that is recognized."),
    _moved_column(
        "feature_cosine", "cosine of the features", "{:.3f}", "1 if a move changes nothing of what the last layer sees."
    ),
    Column(
        "maps", "feature maps, side in pixels", lambda group: group.maps and " → ".join(map(str, group.maps)),
        table="maps", explanation="from the image to the last layer that has maps.",
    ),
)  # fmt: skip

PAIR_COLUMNS: tuple[Column, ...] = (
    Column("a", "A", table="pairs", explanation="the group with the higher mean."),
    Column("b", "B", table="pairs", explanation="the group that it is compared with."),
    Column(
        "difference", "A minus B, percentage points", form=lambda value: percent(value, "{:+.2f}"), table="pairs",
        explanation="difference of the two means.",
    ),
    Column(
        "low", "95 % interval of the difference", text=lambda pair: interval(pair, "{:+.2f}"), table="pairs",
        explanation="by a t test that takes seeds and test images as random. With a single seed or without predictions "
        "only one of them can be; ° marks the test images. Unlike the p-values, it is not corrected for the number of "
        "pairs.",
    ),
    Column(
        "joint", "p (both)", form=p_value, sort=lambda pair: pair.joint and pair.joint["p_holm"], table="pairs",
        explanation="t test over seeds and test images at once: would other seeds show the difference on other images? "
        "Of a cross-validation, a paired t test over the folds, corrected for the training images that they share. "
        "Corrected by Holm's method for the number of pairs of the section that can be tested.",
    ),
    Column(
        "seeds", "p (seeds)", form=p_value, sort=lambda pair: pair.seeds and pair.seeds["p_holm"], table="pairs",
        explanation="Welch's t test over the seeds: would other seeds show the difference, on these test images? "
        "Corrected in the same way.",
    ),
    Column(
        "images", "p (images)", form=p_value, sort=lambda pair: pair.images and pair.images["p_holm"], table="pairs",
        explanation="sign-flip test over the test images: would other images show the difference, with these trained "
        "networks? With one seed each it is McNemar's test (mid-p). Corrected in the same way.",
    ),
    Column(
        "shows", "could show, points", lambda pair: pair.power and pair.power["shows"][0.8], percent, table="pairs",
        explanation="smallest difference that a comparison of these runs finds significant over both with a chance of "
        "80 %, if it is the only comparison.",
    ),
    Column(
        "needs", "seeds needed", lambda pair: pair.power and pair.power["needs"][0.8]["seeds"], text=_needs,
        table="pairs", requires="plan",
        explanation="number of seeds of each group with which a single comparison finds the planned difference with a "
        "chance of 80 % (95 %), given the spread of the runs so far. It is rough with few runs.",
    ),
    Column(
        "only_a", "only A correct", form="{:,}", table="pairs",
        explanation="number of test images that most seeds of A classify correctly and most seeds of B do not.",
    ),
    Column("only_b", "only B correct", form="{:,}", table="pairs", explanation="the same with A and B exchanged."),
    Column(
        "verdict", "verdict", table="pairs",
        explanation="better: the corrected p-value over both is below 0.05. No significant difference does not prove "
        "that the two are equal.",
    ),
)  # fmt: skip

COSTS = {column.key: column.cost_label for column in GROUP_COLUMNS if column.cost_label}
# Explanations of whole tables.
TABLE_NOTES: dict[TableName, tuple[str, str]] = {
    "reach": (
        "Epochs and seconds to a value",
        "mean over the runs that reached it ± standard deviation, interpolated between epochs. (2 of 3) means that two "
        "of three runs reached it. Training accuracy is measured during the epoch, on augmented images. The 95 % "
        "interval of a ratio is by Welch's t test of the logarithms, over the seeds, if all runs reached the value.",
    ),
    "moved": (
        "Moved images",
        "test images are moved up, down, left and right, and the border is filled by reflection. The cosine is that of "
        "the features before and after, averaged over the images.",
    ),
    "cost": (
        "Costs",
        "medians over the seeds. * marks the Pareto front: no other group is both at least as accurate and at least as "
        "cheap.",
    ),
}
