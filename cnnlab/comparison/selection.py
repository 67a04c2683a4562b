"""Of groups that differ in one setting alone the best: such as every network with the learning rate that suits it."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cnnlab.comparison.spec import Reach
from cnnlab.comparison.time_to_value import reached
from cnnlab.runs.reading import Run


class Candidate(Protocol):
    """What is chosen from: runs that differ in the seed alone, and what tells them from others."""

    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102, a group's
    @property
    def every(self) -> Mapping[str, Any]: ...  # noqa: D102, a group's
    @property
    def runs(self) -> Sequence[Run]: ...  # noqa: D102, a group's


Member = TypeVar("Member", bound=Candidate)


@dataclass(frozen=True)
class Choice:
    """How one was chosen.

    Attributes:
        key: the setting.
        value: that was kept.
        best: the value that did best; another one than was kept only where that was trained by itself, after a search.
        seeds: of the runs that decided: those that all had, or all where they had none in common.
        tried: for every value what it came to: epochs until the value was reached, or the validation accuracy; and
            whether it was `dropped`: tried in a search, after which others were trained on that decided.
        at_edge: whether the value is the lowest or highest number of those tried, so that a better one may lie beyond.
    """

    key: str
    value: Any
    best: Any
    seeds: tuple[Any, ...]
    tried: tuple[dict[str, Any], ...]
    at_edge: bool

    @property
    def has_common_seeds(self) -> bool:
        """Whether the same seeds have decided for every value."""
        return all(entry["runs"] == len(self.seeds) for entry in self.tried if not entry["dropped"])


def choose(
    members: Sequence[Member], key: str, same: Callable[[Member], Any], reach: Reach | None, search: Mapping[str, Any]
) -> tuple[list[tuple[Member, Choice | None]], list[Member]]:
    """The members that stay, each with how it was chosen; None where there was no choice. And those that were only
    searched with: no training has followed.

    Those that get to the value of `reach` in the fewest epochs are the best; of those that do not, those that come
    nearest. Without `reach`, the validation accuracy decides. Only the seeds that all have count, so that more seeds
    for one value are no advantage. A search leaves the choice to those that were trained after it, where these are
    several. Test images have no say, unless the protocol makes them the validation images.

    Args:
        members: of one section.
        key: dotted, of the setting; or `model`, `recipe` or `data`, for the best of those that were given.
        same: what two members must share, beside all other settings, to be chosen from.
        reach: that is asked for, or None.
        search: settings of the members that were only to find the value, and do not stay unless no others are there.
    """
    trained: dict[Any, list[Member]] = defaultdict(list)
    searched: dict[Any, list[Member]] = defaultdict(list)
    searching = [member for member in members if search and search.items() <= member.every.items()]
    if len(searching) == len(members):
        searching = []
    for member in members:
        if member in searching:
            searched[same(member), _but_for(member, {key, *search})].append(member)
        else:
            trained[same(member), _but_for(member, {key})].append(member)
    chosen, followed = [], set()
    for group in trained.values():
        place = same(group[0]), _but_for(group[0], {key, *search})
        followed.add(place)
        chosen.append(_best(group, searched.get(place, []), key, reach))
    return chosen, [member for place, group in searched.items() if place not in followed for member in group]


def _but_for(member: Candidate, keys: set[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, repr(value)) for name, value in member.settings.items() if name not in keys)


def _best(trained: list[Member], searched: list[Member], key: str, reach: Reach | None) -> tuple[Member, Choice | None]:
    """The best of those trained: by what they show or, where there is one alone, by the search before it."""
    rivals = searched if searched and len(trained) == 1 else trained
    if len(rivals) == 1:
        return trained[0], None
    every = [{run.summary["seed"] for run in member.runs} for member in rivals]
    seeds = set.intersection(*every) or set.union(*every)
    tried = [_entry(member, key, seeds, reach) for member in rivals]
    best = min(tried, key=lambda entry: _rank(entry, reach))["value"]
    kept = next((member for member in trained if member.every.get(key) == best), trained[0])
    known = [entry["value"] for entry in tried]
    dropped = [member for member in searched if member.every.get(key) not in known]
    tried += [{**_entry(member, key, seeds, reach), "dropped": True} for member in dropped]
    numbers = [entry["value"] for entry in tried]
    ordered = all(type(number) in (int, float) for number in numbers)
    listed = sorted(tried, key=lambda entry: entry["value"]) if ordered else tried
    at_edge = ordered and best in (min(numbers), max(numbers))
    value = kept.every.get(key)
    return kept, Choice(key, value, best, tuple(sorted(seeds, key=str)), tuple(listed), at_edge)


def _entry(member: Candidate, key: str, seeds: set[Any], reach: Reach | None) -> dict[str, Any]:
    """What one of those that were tried came to, by the runs with these seeds."""
    runs = [run for run in member.runs if run.summary["seed"] in seeds]
    return {"value": member.every.get(key), "runs": len(runs), "dropped": False, **_merit(runs, reach)}


def _merit(runs: Sequence[Run], reach: Reach | None) -> dict[str, Any]:
    if reach is None:
        values = [run.summary["val_accuracy"] for run in runs if run.summary["val_accuracy"] is not None]
        return {"val_accuracy": statistics.fmean(values) if values else None}
    there = [when[1] for run in runs if (when := reached(run, reach))]
    nearest = [best for run in runs if (best := _nearest(run, reach)) is not None]
    return {
        "reached": len(there),
        "epochs": statistics.fmean(there) if there else None,
        "nearest": statistics.fmean(nearest) if nearest else None,
    }


def _nearest(run: Run, reach: Reach) -> float | None:
    known = [value for value in run.curve.get(reach.metric, []) if value is not None]
    return (min if reach.metric.endswith("loss") else max)(known, default=None)


def _rank(entry: Mapping[str, Any], reach: Reach | None) -> tuple[float, ...]:
    """Lower is better."""
    worst = float("inf")
    if reach is None:
        return (worst if entry["val_accuracy"] is None else -entry["val_accuracy"],)
    nearest = worst if entry["nearest"] is None else entry["nearest"] * (1 if reach.metric.endswith("loss") else -1)
    missed = 1 - entry["reached"] / max(entry["runs"], 1)
    return missed, worst if entry["epochs"] is None else entry["epochs"], nearest
