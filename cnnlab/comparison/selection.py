"""Keep the best of groups that differ in one setting alone, such as the learning rate that suits each network."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnnlab.comparison.group import Choice, Group, draw, kind_of
from cnnlab.comparison.spec import ComparisonSpec, Reach
from cnnlab.comparison.statistics import mean
from cnnlab.comparison.time_to_value import time_to_reach
from cnnlab.runs.reading import Run


def choose(groups: Sequence[Group], spec: ComparisonSpec, key: str) -> tuple[list[Group], list[Group]]:
    """Keep the best of the groups that differ in one setting alone.

    The best group reaches `spec.reach` in the fewest epochs or, if none reaches it, comes closest. Without `reach`, the
    best figure in validation decides, of the kind that is compared. Only the seeds that all values share count, so that
    more seeds are no advantage. If several values of a search were trained on, these trainings decide and not the
    search. Test images have no say, unless the protocol validates on them.

    The key is the dotted one of a setting; or `model`, `recipe` or `data`. Returns the groups of the section that stay,
    with their `choice`, and the search-only groups that no full training followed.
    """
    trained: dict[Any, list[Group]] = defaultdict(list)
    searched: dict[Any, list[Group]] = defaultdict(list)
    only_search = all(is_search(group, spec) for group in groups)

    def place(group: Group, ignored: set[str]) -> Any:
        others = tuple((name, repr(value)) for name, value in group.settings.items() if name not in ignored)
        return *(value for name, value in group.components.items() if name != key), others

    for group in groups:
        if is_search(group, spec) and not only_search:
            searched[place(group, {key, *spec.search})].append(group)
        else:
            trained[place(group, {key})].append(group)
    chosen, followed = [], set()
    for rivals in trained.values():
        search = place(rivals[0], {key, *spec.search})
        followed.add(search)
        chosen.append(_best(rivals, searched.get(search, []), key, spec.reach))
    return chosen, [group for search, members in searched.items() if search not in followed for group in members]


def is_search(group: Group, spec: ComparisonSpec) -> bool:
    """Return whether a group only searched for the value of `spec.choose`."""
    return bool(spec.search) and spec.search.items() <= group.all_settings.items()


def _best(trained: list[Group], searched: list[Group], key: str, reach: Reach | None) -> Group:
    """Return the best trained group; if a search led to a single training, the search says which value is best."""
    rivals = searched if searched and len(trained) == 1 else trained
    if len(rivals) == 1:
        return trained[0]
    every = [{draw(run) for run in group.runs} for group in rivals]
    seeds = set.intersection(*every) or set.union(*every)
    tried = [_entry(group, key, seeds, reach) for group in rivals]
    best = min(tried, key=lambda entry: _rank(entry, reach))["value"]
    kept = next((group for group in trained if group.all_settings.get(key) == best), trained[0])
    known = [entry["value"] for entry in tried]
    others = [_entry(group, key, seeds, reach) for group in searched]
    tried += [{**entry, "dropped": True} for entry in others if entry["value"] not in known]
    ordered = all(type(entry["value"]) in (int, float) for entry in tried)
    if ordered:
        tried.sort(key=lambda entry: entry["value"])
    at_edge = ordered and best in (tried[0]["value"], tried[-1]["value"])
    value = kept.all_settings.get(key)
    choice = Choice(key, value, best, tuple(sorted(seeds, key=str)), tuple(tried), at_edge)
    return replace(kept, choice=choice, settings={k: v for k, v in kept.settings.items() if k != key})


def _entry(group: Group, key: str, seeds: set[Any], reach: Reach | None) -> dict[str, Any]:
    """Return the result of one value, over the runs with these seeds and folds."""
    runs = [run for run in group.runs if draw(run) in seeds]
    entry = {"value": group.all_settings.get(key), "runs": len(runs), "dropped": False}
    if reach is None:
        return entry | {"val": mean([run.summary[f"val_{kind_of(group.figure)}"] for run in runs])}
    epochs = [time[1] for run in runs if (time := time_to_reach(run, reach))]
    nearest = mean([_nearest(run, reach) for run in runs])
    return entry | {"reached": len(epochs), "epochs": mean(epochs), "nearest": nearest}


def _nearest(run: Run, reach: Reach) -> float | None:
    known = [value for value in run.curve.get(reach.metric, []) if value is not None]
    return (min if reach.metric.endswith("loss") else max)(known, default=None)


def _rank(entry: Mapping[str, Any], reach: Reach | None) -> tuple[float, ...]:
    """Return a sort key; lower is better."""
    worst = float("inf")
    if reach is None:
        return (worst if entry["val"] is None else -entry["val"],)
    nearest = worst if entry["nearest"] is None else entry["nearest"] * (1 if reach.metric.endswith("loss") else -1)
    missed = 1 - entry["reached"] / max(entry["runs"], 1)
    return missed, worst if entry["epochs"] is None else entry["epochs"], nearest
