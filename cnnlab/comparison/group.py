"""Hold runs that differ in the seed alone, and how they were chosen among others."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cnnlab.runs.reading import Run


@dataclass(frozen=True)
class Choice:
    """Result of choosing among the values of a setting."""

    key: str  # of the setting
    value: Any  # the one that is kept
    best: Any  # the one with the best result; differs from `value` only if a search led to a single other training
    seeds: tuple[Any, ...]  # of the runs that decided: those that all values have in common, else all
    # For each value epochs until `reach`, or the validation accuracy; `dropped` is true for a value of the search that
    # no training followed.
    tried: tuple[dict[str, Any], ...]
    at_edge: bool  # whether `best` is the lowest or highest number that was tried: a better one may lie beyond

    @property
    def has_common_seeds(self) -> bool:
        """Return whether the same seeds decided for every value."""
        return all(entry["runs"] == len(self.seeds) for entry in self.tried if not entry["dropped"])


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone."""

    # The name that an experiment gives it; else the model and what tells the group from others of its section. At first
    # only the model, with recipe and data if they differ within the section.
    label: str
    model: str
    recipe: str
    data: str
    settings: Mapping[str, Any]  # those that differ from other groups with the same names, by dotted key
    runs: tuple[Run, ...]  # one for each seed, by seed
    all_settings: Mapping[str, Any]  # by dotted key, with the names of model, recipe and data
    choice: Choice | None = None  # how it was chosen among others

    @property
    def components(self) -> dict[str, str]:
        """Return the names of model, recipe and data."""
        return {"model": self.model, "recipe": self.recipe, "data": self.data}

    @property
    def accuracies(self) -> list[float]:
        """Return the test accuracy of each run."""
        return self.values("test_accuracy")

    def values(self, key: str) -> list[float]:
        """Return a value of the runs' summaries, such as `epochs`, of the runs that know it."""
        return [run.summary[key] for run in self.runs if run.summary[key] is not None]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Return the predicted class of each test image, int16 (R, N), for the R runs that have their predictions."""
        rows = [run.predicted for run in self.runs if run.predicted is not None]
        return np.stack(rows) if rows else np.empty((0, 0), dtype=np.int16)

    @cached_property
    def labels(self) -> np.ndarray:
        """Return the true class of each test image, int16 (N,)."""
        return next((run.labels for run in self.runs if run.labels is not None), np.empty(0, dtype=np.int16))

    @property
    def scored_runs(self) -> int:
        """Return how many runs can be compared image by image."""
        return len(self.predicted)

    @cached_property
    def correct(self) -> np.ndarray:
        """Return how many of the scored runs classify each test image correctly, int64 (N,)."""
        return (self.predicted == self.labels).sum(axis=0)

    @cached_property
    def scored_accuracies(self) -> list[float]:
        """Return the test accuracy of each scored run."""
        return (self.predicted == self.labels).mean(axis=1).tolist()
