"""Hold runs that differ in seed or fold alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cnnlab.runs.reading import Run

UNSET = "unset"


@dataclass(frozen=True)
class Choice:
    """Result of choosing among the values of a setting."""

    key: str  # of the setting
    value: Any  # the one that is kept
    best: Any  # the one with the best result; differs from `value` only if a search led to a single other training
    seeds: tuple[Any, ...]  # and folds of the runs that decided: those that all values have in common, else all
    # For each value epochs until `reach`, or the figure in validation; `dropped` is true for a value of the search that
    # no training followed.
    tried: tuple[dict[str, Any], ...]
    at_edge: bool  # whether `best` is the lowest or highest number that was tried: a better one may lie beyond

    @property
    def has_common_seeds(self) -> bool:
        """Return whether the same seeds decided for every value."""
        return all(entry["runs"] == len(self.seeds) for entry in self.tried if not entry["dropped"])


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone, or in seed and fold of a cross-validation."""

    label: str  # of `names.name_groups`; empty at first
    model: str
    recipe: str
    data: str
    settings: Mapping[str, Any]  # those that differ from other groups with the same components, by dotted key
    runs: tuple[Run, ...]  # one for each seed and fold, by seed
    all_settings: Mapping[str, Any]  # by dotted key, with the names of model, recipe and data
    figure: str  # key of the record that is compared, such as `test_accuracy`
    folds: int = 0  # of a cross-validation; 0 for none
    choice: Choice | None = None  # how it was chosen among others

    @property
    def components(self) -> dict[str, str]:
        """Return the names of model, recipe and data."""
        return {"model": self.model, "recipe": self.recipe, "data": self.data}

    @property
    def accuracies(self) -> list[float]:
        """Return the compared figure of each run, usually the test accuracy."""
        return self.values(self.figure)

    @property
    def by_draw(self) -> dict[Any, float]:
        """Return the compared figure of each run by its `draw`."""
        return {draw(run): run.summary[self.figure] for run in self.runs}

    def values(self, key: str) -> list[float]:
        """Return a value of the runs' summaries, such as `epochs`, of the runs that know it."""
        return [run.summary[key] for run in self.runs if run.summary[key] is not None]

    @cached_property
    def _rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return predicted and true classes of each run that has them, or of each seed of which all folds have them."""
        known = [(run, run.predicted, run.labels) for run in self.runs if run.predicted is not None]
        if not self.folds:
            return [(predicted, labels) for _, predicted, labels in known if labels is not None]
        rows = []
        for seed in dict.fromkeys(run.summary["seed"] for run, *_ in known):
            its = [(run.positions, *arrays) for run, *arrays in known if run.summary["seed"] == seed]
            positions, predicted, labels = (np.concatenate(parts) for parts in zip(*its, strict=True))  # pyright: ignore
            order = positions.argsort()
            if np.array_equal(positions[order], np.arange(len(order))):
                rows.append((predicted[order], labels[order]))
        return [row for row in rows if np.array_equal(row[1], rows[0][1])]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Return the predicted class of each image, int16 (R, N), for the R runs that have their predictions.

        The images are the test images. Of a cross-validation they are the training images, each predicted by the run
        that held it out, and R is the number of seeds.
        """
        return np.stack([row[0] for row in self._rows]) if self._rows else np.empty((0, 0), dtype=np.int16)

    @cached_property
    def labels(self) -> np.ndarray:
        """Return the true class of each of these images, int16 (N,)."""
        return self._rows[0][1] if self._rows else np.empty(0, dtype=np.int16)

    @property
    def scored_runs(self) -> int:
        """Return how many runs, or cross-validations, can be compared image by image."""
        return len(self.predicted)

    @cached_property
    def correct(self) -> np.ndarray:
        """Return how many of the scored runs classify each test image correctly, int64 (N,)."""
        return (self.predicted == self.labels).sum(axis=0)

    @cached_property
    def scored_accuracies(self) -> list[float]:
        """Return the test accuracy of each scored run."""
        return (self.predicted == self.labels).mean(axis=1).tolist()


def kind_of(figure: str) -> str:
    """Return the kind of a figure of a record: `accuracy` of `test_accuracy`."""
    return figure.partition("_")[2]


def draw(run: Run) -> Any:
    """Return what may differ within a group: the seed, or seed and fold of a cross-validation."""
    seed, fold = run.summary["seed"], run.summary["fold"]
    return seed if fold is None else (seed, fold)


def first_few(texts: Sequence[str], most: int) -> list[str]:
    """Return the first texts, and the number of the others such as `and 2 more`."""
    return [*texts[:most], *([f"and {len(texts) - most} more"] if len(texts) > most else [])]
