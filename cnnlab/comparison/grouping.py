"""Which runs may be averaged, and which may be compared with each other.

Runs are averaged where they differ in the seed alone, and compared where they share protocol and data. Nothing is
pooled or left out in silence: what separates runs is in the groups' names, and what is set aside has a reason.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cnnlab.comparison.labels import UNSET, Unnamed, label_groups, setting_text, unknown_settings
from cnnlab.comparison.selection import Choice, choose
from cnnlab.comparison.spec import Question
from cnnlab.instantiate import did_you_mean
from cnnlab.runs.reading import Run

# Settings that leave what is learned as it is: names, places, and how much is printed. Accuracies may be averaged over
# them. What they change is time and memory.
ASIDE = (
    *("name", "resume", "logger", "seed", "tta", "experiment"),
    *("data.path", "data.cache", "data.residence", "data.workers", "data.eval_batch_size"),
    *("trainer.enable_progress_bar", "trainer.profile", "trainer.num_sanity_val_steps"),
)
CHOICES = ("model", "recipe", "data")
VALUES = 6  # of a setting in a notice


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone.

    Attributes:
        label: model, and what else tells this group from the others of its section; or the name that it was given.
        model: name of the network.
        recipe: name of the recipe.
        data: name of the data.
        settings: those by which it differs from groups of the same names, by dotted key.
        runs: one for each seed, by seed.
        every: all settings of its runs, by dotted key, with the names of model, recipe and data.
        choice: how it was chosen among others, or None.
    """

    label: str
    model: str
    recipe: str
    data: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]
    every: Mapping[str, Any]
    choice: Choice | None = None

    @property
    def accuracies(self) -> list[float]:
        """The test accuracy of each run."""
        return [run.summary["test_accuracy"] for run in self.runs]

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class that each run gives each test image, int16 (R, N), of the R runs that have their predictions."""
        rows = [run.predicted for run in self.runs if run.predicted is not None]
        return np.stack(rows) if rows else np.empty((0, 0), dtype=np.int16)

    @cached_property
    def labels(self) -> np.ndarray:
        """The true class of each test image, int16 (N,)."""
        return next((run.labels for run in self.runs if run.labels is not None), np.empty(0, dtype=np.int16))

    @property
    def scored(self) -> int:
        """How many runs can be compared image by image."""
        return len(self.predicted)

    @cached_property
    def right(self) -> np.ndarray:
        """For each test image how many of these runs are right, int64 (N,)."""
        return (self.predicted == self.labels).sum(axis=0)


@dataclass(frozen=True)
class Section:
    """Groups that may be compared: same protocol, same images.

    Attributes:
        protocol: which images selected the best epoch.
        data: names of the data.
        fingerprint: of the images.
        labels: the true classes of the test images, int16 (N,); None where no run has its predictions.
        groups: the best first.
    """

    protocol: str
    data: tuple[str, ...]
    fingerprint: str
    labels: np.ndarray | None
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Grouping:
    """All runs, in their places.

    Attributes:
        sections: the one with the most runs first.
        set_aside: runs that count nowhere, and why.
        notices: what a reader must know about how runs were put together.
    """

    sections: tuple[Section, ...]
    set_aside: tuple[tuple[Run, str], ...]
    notices: tuple[str, ...]


def group_runs(runs: Sequence[Run], question: Question = Question()) -> Grouping:  # noqa: B008, it cannot change
    """Puts runs into sections that may be compared and groups that may be averaged.

    Args:
        runs: from `cnnlab.runs.reading`.
        question: how groups are called, and which are chosen.
    """
    set_aside = [(run, reason) for run in runs if (reason := _unusable(run))]
    notices: list[str] = []
    places: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if not _unusable(run):
            places[str(run.summary["protocol"]), str(run.summary["data_fingerprint"])].append(run)
    if len(places) > 1:
        notices.append(
            "The runs differ in protocol or in the images' fingerprint. They are kept apart, in a section for each, "
            "and are not compared across sections. (Images that were streamed have a fingerprint of their own.)"
        )
    sections = []
    for (protocol, fingerprint), members in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        labels, members = _with_common_labels(members, notices)
        groups = _groups(members, question, set_aside, notices)
        data = tuple(sorted({group.data for group in groups}))
        sections.append(Section(protocol, data, fingerprint, labels, groups))
    return Grouping(tuple(sections), tuple(set_aside), tuple(notices))


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, less those that leave what is learned as it is."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name in ASIDE:
            continue
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _unusable(run: Run) -> str | None:
    """Why a run counts nowhere, or None if it does."""
    status, error = run.summary["status"], run.summary["error"]
    if status is None:
        return "damaged: " + ("; ".join(run.problems) or "its record has no status")
    if status == "running":
        return "running: it is still going on" if run.going_on else "unfinished: its process is gone"
    if status != "completed":
        return f"{status}: {error or 'no reason was recorded'}"
    if run.summary["test_accuracy"] is None:
        return "damaged: " + ("; ".join(run.problems) or "its record has no test accuracy")
    return None


def _with_common_labels(runs: list[Run], notices: list[str]) -> tuple[np.ndarray | None, list[Run]]:
    """The test images' labels that most runs have; runs with others keep their record and lose their predictions."""
    kinds = Counter(run.labels.tobytes() for run in runs if run.labels is not None)
    if not kinds:
        return None, runs
    common = kinds.most_common(1)[0][0]
    kept: list[Run] = []
    for run in runs:
        if run.labels is not None and run.labels.tobytes() != common:
            notices.append(f"{run.path} was tested on other images than most; it is not compared image by image.")
            run = Run(run.path, run.summary, run.config, run.curve, problems=run.problems)
        kept.append(run)
    return np.frombuffer(common, dtype=np.int16), kept


def _groups(
    runs: list[Run], question: Question, set_aside: list[tuple[Run, str]], notices: list[str]
) -> tuple[Group, ...]:
    unnamed = _unnamed(runs, question, set_aside, notices)
    notices += unknown_settings([group.every for group in unnamed], question.names)
    chosen: list[tuple[Unnamed, Choice | None]] = [(group, None) for group in unnamed]
    if question.choose is not None:
        notices += _unknown_choice(unnamed, question.choose)
        same = [name for name in CHOICES if name != question.choose]
        chosen, unfollowed = choose(
            *(unnamed, question.choose, lambda group: tuple(group.every[name] for name in same)),
            *(question.reach, question.search),
        )
        reason = f"it was only to find {question.choose}, and no training has followed"
        set_aside += [(run, reason) for group in unfollowed for run in group.runs]
        if any(choice for _, choice in chosen) and runs[0].summary["protocol"] == "article":
            notices.append(f"{question.choose} was chosen by the test images: protocol article validates with them.")
        chosen = [
            (_without(group, {question.choose}), choice) if choice else (group, choice) for group, choice in chosen
        ]
        if question.search and all(question.search.items() <= group.every.items() for group in unnamed):
            notices.append(
                "The runs that were only to find " + question.choose + " are compared themselves "
                f"({', '.join(f'{key}={value}' for key, value in question.search.items())}): no others are there yet."
            )
    groups = []
    labels = label_groups([group for group, _ in chosen], question.labels)
    for (group, choice), label in zip(chosen, labels, strict=True):
        _note_circumstances(label, group.runs, notices)
        groups.append(Group(label, *group.choices, group.settings, group.runs, group.every, choice))
        if choice and choice.best != choice.value:
            notices.append(
                f"{label} has {choice.key}={choice.value}; of the values that were tried, {choice.best} did best."
            )
        if choice and not choice.has_common_seeds:
            notices.append(f"{label}: the values of {choice.key} that were tried have no seed in common; all count.")
        if choice and choice.at_edge:
            notices.append(
                f"{label}: {choice.key}={choice.best} is the last of the values that were tried on its side: "
                "a better one may lie beyond."
            )
    return tuple(sorted(groups, key=lambda group: -np.mean(group.accuracies)))


def _unnamed(
    runs: list[Run], question: Question, set_aside: list[tuple[Run, str]], notices: list[str]
) -> list[Unnamed]:
    """The runs that differ in the seed alone, together."""
    named: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        named[str(run.summary["model"]), str(run.summary["recipe"]), str(run.summary["data"])].append(run)
    several_recipes = len({recipe for _, recipe, _ in named}) > 1 and question.choose != "recipe"
    several_data = len({data for _, _, data in named}) > 1 and question.choose != "data"
    expected = {key for names in question.names for settings in names.values() for key in settings} | {
        question.choose,
        *question.search,
    }
    groups: list[Unnamed] = []
    for (model, recipe, data), members in named.items():
        base = " ".join([model, *([recipe] if several_recipes else []), *([data] if several_data else [])])
        split = _split_by_settings(members)
        if differing := [key for key in split[0][0] if key not in expected]:
            every = "; ".join(f"{key} ({_values(key, split)})" for key in differing)
            notices.append(f"{base}: its runs differ in other settings than the seed and are kept apart: {every}.")
        for settings, same in split:
            one_each = _one_for_each_seed(same, set_aside)
            choices = dict(zip(CHOICES, (model, recipe, data), strict=True))
            groups.append(Unnamed(base, (model, recipe, data), settings, _settings(same[0]) | choices, one_each))
    return groups


def _unknown_choice(groups: list[Unnamed], key: str) -> list[str]:
    """A notice where there is nothing to choose, for no run has the setting."""
    known = sorted({name for group in groups for name in group.every})
    return [] if key in known else [f"choose: no run has a setting {key}{did_you_mean(key, known)}"]


def _without(group: Unnamed, keys: set[str]) -> Unnamed:
    """The group as one whose name needs not tell these settings any more."""
    return replace(group, settings={name: value for name, value in group.settings.items() if name not in keys})


def _split_by_settings(runs: list[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Runs with the same settings, with those of the settings that not all of them share."""
    flat = [_settings(run) for run in runs]
    keys = sorted({key for settings in flat for key in settings}, key=lambda key: (not key.startswith("model."), key))
    differing = [key for key in keys if len({repr(settings.get(key, UNSET)) for settings in flat}) > 1]
    split: dict[tuple[str, ...], tuple[dict[str, Any], list[Run]]] = {}
    for run, settings in zip(runs, flat, strict=True):
        values = {key: settings.get(key, UNSET) for key in differing}
        split.setdefault(tuple(map(repr, values.values())), (values, []))[1].append(run)
    return list(split.values())


def _settings(run: Run) -> dict[str, Any]:
    """The settings that decide what was learned; the precision is the one that was used, not `auto`."""
    if run.config is None:
        return {"config.yaml": "unreadable"}
    return flattened(run.config) | {"trainer.precision": run.summary["precision"]}


def _values(key: str, split: list[tuple[dict[str, Any], list[Run]]]) -> str:
    texts = list(dict.fromkeys(setting_text(settings[key]) for settings, _ in split))
    return ", ".join([*texts[:VALUES], *([f"and {len(texts) - VALUES} more"] if len(texts) > VALUES else [])])


def _one_for_each_seed(runs: list[Run], set_aside: list[tuple[Run, str]]) -> tuple[Run, ...]:
    """The last run of each seed: the same training twice is no second sample."""
    kept: dict[Any, Run] = {}
    for run in runs:
        seed = run.summary["seed"]
        if seed in kept:
            set_aside.append((kept[seed], f"repeated: {run.path} has the same settings and the same seed, {seed}"))
        kept[seed] = run
    return tuple(kept[seed] for seed in sorted(kept, key=lambda seed: (seed is None, seed)))


def _note_circumstances(label: str, runs: tuple[Run, ...], notices: list[str]) -> None:
    """Says where runs that are averaged were not made alike in what their settings do not tell."""
    devices, commits = (sorted({str(run.summary[key]) for run in runs}) for key in ("device", "git_commit"))
    if len(devices) > 1:
        notices.append(f"{label}: times and memory are medians over different devices: {'; '.join(devices)}.")
    if len(commits) > 1:
        notices.append(f"{label}: its runs were made by different commits: {', '.join(map(short_commit, commits))}.")


def short_commit(commit: str) -> str:
    """Its first ten digits, and whether files had been changed."""
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
