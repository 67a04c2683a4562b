"""Decide which runs are averaged, and which groups of runs are compared with each other.

Runs are averaged if they differ in the seed alone, and compared if they share protocol and data. Runs of a
cross-validation are averaged over folds and seeds, and compared with other cross-validations alone. Nothing is averaged
or left out silently: settings that keep runs apart are in the groups' labels, and each excluded run has a reason.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from cnnlab.comparison.group import UNSET, Group, draw, first_few
from cnnlab.comparison.names import name_groups, setting_text, usual_value
from cnnlab.comparison.selection import choose, is_search
from cnnlab.comparison.spec import ComparisonSpec, Figure
from cnnlab.errors import RequestError
from cnnlab.runs.directory import DEFAULTS_SINCE
from cnnlab.runs.reading import Run
from cnnlab.words import did_you_mean, nearest

# Settings that do not change what is learned: names, paths, what the fingerprint of the images tells, and how much is
# printed. Accuracies may be averaged over them. They do change time and memory.
IGNORED_SETTINGS = (
    *("name", "resume", "logger", "checkpoint_every", "seed", "data.fold", "tta", "experiment"),
    *("data.path", "data.cache", "data.residence", "data.workers", "data.eval_batch_size"),
    *("data.config", "data.image_column", "data.label_column", "data.on_error", "data.exclude"),
    *("data.splits", "data.splits.train", "data.splits.val", "data.splits.test"),
    *("trainer.enable_progress_bar", "trainer.profile", "trainer.num_sanity_val_steps"),
)
# In older records, with the defaults.
LACKING = dict.fromkeys(("weights", "freeze", "layer_decay", "schedule_interval", "data.folds", "budget"))
LACKING |= {"data.fraction": 1, "trainer.compile_step": False}
IMPORTANT = ("trainer.max_epochs", "data.fraction", "optimizer._target_", "optimizer.lr", "weights")
MAX_VALUES = 6  # of a setting in a notice

Excluded = tuple[Run, str]  # a run that is not counted, and the reason


@dataclass(frozen=True)
class Section:
    """Groups that may be compared: they share protocol and images."""

    protocol: str
    data: list[str]  # its names
    fingerprint: str  # of the images
    labels: np.ndarray | None  # true classes of the test images, int16 (N,); None if no run has its predictions
    groups: list[Group]  # the most accurate first
    figure: str  # key of the record that is compared
    folds: int  # of a cross-validation; 0 for none


@dataclass(frozen=True)
class Grouping:
    """Sections of groups of runs."""

    sections: list[Section] = field(default_factory=list)  # the one with the most runs first
    set_aside: list[Excluded] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)  # on how runs were put together


def group_runs(runs: Sequence[Run], spec: ComparisonSpec = ComparisonSpec()) -> Grouping:  # noqa: B008, it cannot change
    """Put runs into sections that may be compared and groups that may be averaged.

    Raises:
        RequestError: for a setting in `spec` that no run has.
    """
    made = Grouping()
    by_images: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in runs:
        if reason := _exclusion_reason(run):
            made.set_aside.append((run, reason))
        else:
            images = str(run.summary["protocol"]), str(run.summary["data_fingerprint"]), run.summary["folds"] or 0
            by_images[images].append(run)
    made.notices.extend(_unknown_settings([run for members in by_images.values() for run in members], spec))
    for (protocol, fingerprint, folds), members in sorted(by_images.items(), key=lambda item: (-len(item[1]), item[0])):
        figure, members = _compared_figure(members, folds, spec, made)
        if not members:
            continue
        labels, members = (None, members) if folds else _with_common_labels(members, made)
        groups = _make_groups(members, spec, made, figure, folds)
        data = sorted({group.data for group in groups})
        made.sections.append(Section(protocol, data, fingerprint, labels, groups, figure, folds))
    return made


def _unknown_settings(runs: Sequence[Run], spec: ComparisonSpec) -> list[str]:
    """Return a notice for each setting in names of groups that no run has: an experiment's runs may be still to come.

    Raises:
        RequestError: if it is a typo, or decides which runs are compared.
    """
    known = sorted({"model", "recipe", "data"}.union(*map(_settings, runs)))
    asked = {setting: "labels" for its in spec.labels.values() for setting in its}
    if spec.axis:
        asked |= {setting: "axis" for its in spec.axis.lines.values() for setting in its}
        asked |= {spec.axis.values: "axis"} if isinstance(spec.axis.values, str) else {}
    asked |= dict.fromkeys(spec.search, "search") | ({spec.choose: "choose"} if spec.choose else {})
    notices = []
    for setting, key in asked.items() if runs else ():
        if setting not in known:
            notices.append(f"{key}: no run has a setting {setting}{did_you_mean(setting, known)}")
            if key in ("search", "choose") or nearest(setting, known):
                raise RequestError(notices[-1])
    return notices


def _compared_figure(runs: list[Run], folds: int, spec: ComparisonSpec, made: Grouping) -> tuple[str, list[Run]]:
    """Return the key of the figure that a section compares, and the runs whose record has it.

    It is that of the held-out images in a cross-validation, else that of the test images; by default the one that
    chose the best epochs of the runs.
    """
    kind = spec.value
    if kind is None:
        chosen = {str((run.config or {}).get("select", "val/accuracy")).partition("/")[2] for run in runs}
        kind = chosen.pop() if len(chosen) == 1 else "accuracy"
        if chosen:
            made.notices.append(
                "Different figures chose the best epochs of the runs (select), so accuracies are compared; value= "
                "compares another figure."
            )
    figure = f"{'val' if folds else 'test'}_{kind if kind in get_args(Figure) else 'accuracy'}"
    for run in (run for run in runs if run.summary[figure] is None):
        reason = "; ".join(run.problems) or f"its record has no {figure.replace('_', ' ')}"
        made.set_aside.append((run, f"damaged: {reason}"))
    return figure, [run for run in runs if run.summary[figure] is not None]


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key, without those that do not change what is learned."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name not in IGNORED_SETTINGS:
            flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _exclusion_reason(run: Run) -> str | None:
    """Return why a run is not counted, or None if it is."""
    status, error = run.summary["status"], run.summary["error"]
    if status is None:
        return "damaged: " + ("; ".join(run.problems) or "its record has no status")
    if status == "running":
        return "running: it has not finished yet" if run.going_on else "unfinished: its process is gone"
    if status != "completed":
        return f"{status}: {error or 'no reason was recorded'}"
    return None


def _with_common_labels(runs: list[Run], made: Grouping) -> tuple[np.ndarray | None, list[Run]]:
    """Return the test labels that most runs share, and the runs; those with other labels lose predictions."""
    kinds = Counter(run.labels.tobytes() for run in runs if run.labels is not None)
    if not kinds:
        return None, runs
    common = kinds.most_common(1)[0][0]
    others = [run for run in runs if run.labels is not None and run.labels.tobytes() != common]
    paths = [run.path for run in others]
    kept = [replace(run, predicted=None, labels=None, classes=None) if run.path in paths else run for run in runs]
    for path in paths:
        made.notices.append(f"{path} was tested on other images than most runs; it is not compared image by image.")
    return np.frombuffer(common, dtype=np.int16), kept


def _make_groups(runs: list[Run], spec: ComparisonSpec, made: Grouping, figure: str, folds: int) -> list[Group]:
    """Return the labelled groups of a section, the most accurate first."""
    groups = _separate(runs, spec, made, figure, folds)
    if spec.choose is not None:
        groups = _choose(groups, spec, spec.choose, runs[0].summary["protocol"], made)
    labels = name_groups(groups, spec.labels, spec.choose)
    labelled = [replace(group, label=label) for group, label in zip(groups, labels, strict=True)]
    for group in labelled:
        made.notices.extend([*_circumstance_notices(group), *_choice_notices(group)])
    return sorted(labelled, key=lambda group: -np.mean(group.accuracies))


def _separate(runs: list[Run], spec: ComparisonSpec, made: Grouping, figure: str, folds: int) -> list[Group]:
    """Return groups of the runs that differ in seed or fold alone, still without labels."""
    named: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        named[tuple(str(run.summary[key]) for key in ("model", "recipe", "data"))].append(run)
    several_recipes = len({recipe for _, recipe, _ in named}) > 1 and spec.choose != "recipe"
    several_data = len({data for _, _, data in named}) > 1 and spec.choose != "data"
    expected = {key for names in spec.names for settings in names.values() for key in settings}
    expected |= {spec.choose, *spec.search}
    groups = []
    for (model, recipe, data), members in named.items():
        made_of_these = []
        for settings, same in _split_by_settings(members):
            one_each, repeated = _one_for_each_seed(same)
            made.set_aside.extend(repeated)
            every = _settings(same[0]) | {"model": model, "recipe": recipe, "data": data}
            made_of_these.append(Group("", model, recipe, data, settings, one_each, every, figure, folds))
        if differing := [key for key in made_of_these[0].settings if key not in expected]:
            base = ", ".join([model, *([recipe] if several_recipes else []), *([data] if several_data else [])])
            every = "; ".join(_values(key, made_of_these) for key in differing)
            made.notices.append(f"{base}: its runs differ in more than the seed and are kept apart, by {every}.")
        groups += made_of_these
    return groups


def _choose(groups: list[Group], spec: ComparisonSpec, key: str, protocol: str | None, made: Grouping) -> list[Group]:
    """Keep the best of the groups that differ in one setting alone; see `selection.choose`."""
    chosen, unfollowed = choose(groups, spec, key)
    reason = f"it only searched for {key}, and no full training followed"
    made.set_aside.extend((run, reason) for group in unfollowed for run in group.runs)
    if any(group.choice for group in chosen) and protocol == "article":
        made.notices.append(f"{key} was chosen by the test images: protocol article validates with them.")
    if spec.search and all(is_search(group, spec) for group in groups):
        settings = ", ".join(f"{name}={value}" for name, value in spec.search.items())
        made.notices.append(
            f"The runs that only searched for {key} ({settings}) are compared, because there are no others yet."
        )
    return chosen


def _choice_notices(group: Group) -> list[str]:
    if not (choice := group.choice):
        return []
    notices = []
    if choice.best != choice.value:
        better = f"but {choice.best} was the best value that was tried"
        notices.append(f"{group.label} uses {choice.key}={choice.value}, {better}.")
    if not choice.has_common_seeds:
        notices.append(f"{group.label}: the values of {choice.key} have no seed in common, so all seeds count.")
    if choice.at_edge:
        notices.append(
            f"{group.label}: the best value, {choice.key}={choice.best}, is the lowest or highest that was tried; a "
            "better one may lie beyond."
        )
    return notices


def _split_by_settings(runs: list[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Return runs with equal settings, each with those settings that not all runs share.

    Older records lack the keys that are new since then: a missing key is equal to its default.
    """
    flat = [_settings(run) for run in runs]
    keys = sorted({key for settings in flat for key in settings}, key=_importance)

    def text(settings: Mapping[str, Any], key: str) -> str:
        return repr(settings.get(key, dict(DEFAULTS_SINCE).get(key.rpartition(".")[2])))

    differing = [key for key in keys if len({text(settings, key) for settings in flat}) > 1]
    split: dict[tuple[str, ...], tuple[dict[str, Any], list[Run]]] = {}
    for run, settings in zip(runs, flat, strict=True):
        values = {key: settings.get(key, UNSET) for key in differing}
        split.setdefault(tuple(text(settings, key) for key in differing), (values, []))[1].append(run)
    return list(split.values())


def _importance(key: str) -> tuple[Any, ...]:
    """Return a sort key: names have room for the first settings only."""
    return (not key.startswith("model."), key not in IMPORTANT, key == "trainer.precision", key)


def _settings(run: Run) -> dict[str, Any]:
    """Return the settings that decide what is learned; the precision is the one that was used, not `auto`."""
    if run.config is None:
        return {"config.yaml": "unreadable"}
    return LACKING | flattened(run.config) | {"trainer.precision": run.summary["precision"]}


def _values(key: str, groups: Sequence[Group]) -> str:
    """Return a setting and its values, that which names leave out last."""
    usual = usual_value(groups, key)
    values = {setting_text(group.settings[key]): repr(group.settings[key]) == usual for group in groups}
    texts = first_few([text for text, left_out in values.items() if not left_out], MAX_VALUES)
    left_out = "".join(f"; else {text}" for text, left_out in values.items() if left_out)
    return f"{key} ({', '.join(texts)}{left_out})"


def _one_for_each_seed(runs: list[Run]) -> tuple[tuple[Run, ...], list[Excluded]]:
    """Return the last run of each seed and fold, and the others: the same training twice is no second sample."""
    kept: dict[Any, Run] = {}
    repeated = []
    for run in runs:
        its = draw(run)
        if its in kept:
            fold = run.summary["fold"]
            same = f"the same seed, {run.summary['seed']}" + (f", and fold, {fold}" if fold else "")
            repeated.append((kept[its], f"repeated: {run.path} has the same settings and {same}"))
        kept[its] = run

    def place(run: Run) -> list[tuple[bool, Any]]:
        return [(run.summary[key] is None, run.summary[key]) for key in ("seed", "fold")]

    return tuple(sorted(kept.values(), key=place)), repeated


def _circumstance_notices(group: Group) -> list[str]:
    """Return notices if averaged runs come from different devices or commits, or lack folds."""
    devices, commits = (sorted({str(run.summary[key]) for run in group.runs}) for key in ("device", "git_commit"))
    every = {
        f"times and memory are medians over different devices: {'; '.join(devices)}": devices,
        f"its runs come from different commits: {', '.join(map(short_commit, commits))}": commits,
    }
    seeds = Counter(run.summary["seed"] for run in group.runs)
    lacking = [f"{count} of {group.folds} folds of seed {seed}" for seed, count in seeds.items() if count < group.folds]
    every |= {f"there are only {', '.join(lacking)}; the means are over these": ["", *lacking]}
    return [f"{group.label}: {notice}." for notice, values in every.items() if len(values) > 1]


def short_commit(commit: str) -> str:
    """Return the first ten digits of a commit, and whether files had been changed."""
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
