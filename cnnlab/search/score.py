"""Name the figures that can rank trials: of the held-out images, and costs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.words import did_you_mean


@dataclass(frozen=True)
class Score:
    """Figure of a run that can rank trials."""

    objective: str  # its name in `objective=` and in tune.json
    figure: str  # its column in metrics.csv, such as `val/loss`; a cost is only in the record
    name: str  # in words
    short_name: str  # in tables
    lower_is_better: bool = False
    factor: float = 1.0  # by which a value is multiplied before it is written
    form: str = ".4f"
    unit: str = ""
    is_fixed: bool = False  # whether it is the same with every seed

    @property
    def key(self) -> str:
        """Return its key in a run's record."""
        return self.figure.replace("/", "_")

    @property
    def axis(self) -> str:
        """Return the label of an axis with multiplied values, such as `training time (s)`."""
        return f"{self.name} ({self.unit.strip()})" if self.unit else self.name

    def text(self, value: float, spread: float | None = None) -> str:
        """Return a value as text, such as `98.66%`, or with a standard deviation `98.66 ± 0.31%`."""
        around = "" if spread is None else f" ± {spread * self.factor:{self.form}}"
        return f"{value * self.factor:{self.form}}{around}{self.unit}"

    def of(self, trial: Mapping[str, Any]) -> str:
        """Return this figure of a trial of tune.json as text, with its spread if it was trained with several seeds."""
        spread = None if self.is_fixed else trial["spread"].get(self.objective)
        return self.text(trial["values"][self.objective], spread)

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values, or None if there are none."""
        return min(values, default=None) if self.lower_is_better else max(values, default=None)


PERCENT: dict[str, Any] = {"factor": 100, "form": ".2f", "unit": "%"}
MILLIONS: dict[str, Any] = {"lower_is_better": True, "factor": 1e-6, "form": ",.4g", "unit": " M", "is_fixed": True}
SCORES = {
    score.objective: score
    for score in (
        Score("accuracy", "val/accuracy", "val accuracy", "val", **PERCENT),
        Score("balanced_accuracy", "val/balanced_accuracy", "val balanced accuracy", "val balanced", **PERCENT),
        Score("macro_f1", "val/macro_f1", "val macro F1", "val macro F1", **PERCENT),
        Score("loss", "val/loss", "val loss", "val loss", lower_is_better=True),
        Score("macs", "macs", "MACs per image", "MACs", **MILLIONS),
        Score("parameters", "parameters", "parameters", "params", **MILLIONS),
        Score("train_seconds", "train_seconds", "training time", "training", True, form=",.1f", unit=" s"),
        Score("images_per_second", "images_per_second", "training images per second", "images/s", form=",.0f"),
        Score("peak_memory_bytes", "peak_memory_bytes", "peak memory", "memory", True, 1e-9, ".3f", " GB"),
    )
}


def read_objective(objective: Any, select: str) -> list[Score]:
    """Return the figures that `objective=` lists, or that of `select=` for None.

    Raises:
        RequestError: if it is no list of two names or more, or one is unknown or given twice.
    """
    if objective is None:
        return [SCORES[select.removeprefix("val/")]]
    if not isinstance(objective, list) or len(objective) < 2:
        raise RequestError(
            "objective must list two figures or more, such as [accuracy,macs]; a single one is what select= says"
        )
    for place, name in enumerate(objective):
        if str(name) not in SCORES:
            raise RequestError(f"objective: {name} is not known{did_you_mean(str(name), SCORES)}")
        if name in objective[:place]:
            raise RequestError(f"objective: {name} is listed twice")
    return [SCORES[name] for name in objective]
