"""Say by which figure trials are ranked, and how it is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from cnnlab.runs.recorder import Selection


@dataclass(frozen=True)
class Score:
    """Figure that ranks trials: the one that `select` names, which chooses the best epoch of a trial too."""

    figure: Selection

    def __post_init__(self) -> None:
        assert self.figure in get_args(Selection), self.figure

    @property
    def key(self) -> str:
        """Return its key in a run's record."""
        return self.figure.replace("/", "_")

    @property
    def name(self) -> str:
        """Return its name, such as `val balanced accuracy`."""
        return self.figure.replace("/", " ").replace("_", " ").replace("f1", "F1")

    @property
    def short_name(self) -> str:
        """Return its name in tables, such as `val balanced`; `val` for the accuracy."""
        return self.name.removesuffix(" accuracy")

    @property
    def is_loss(self) -> bool:
        """Return whether lower values are better."""
        return self.figure.endswith("loss")

    def text(self, value: float) -> str:
        """Return a value as text."""
        return f"{value:.4f}" if self.is_loss else f"{value:.2%}"

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values, or None if there are none."""
        return min(values, default=None) if self.is_loss else max(values, default=None)
