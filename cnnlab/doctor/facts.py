"""Hold what the rules judge by: the record of a run, and what is measured when a rule first asks for it."""

import shlex
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cnnlab.doctor.findings import NotMeasured
from cnnlab.instantiate import describe_error
from cnnlab.runs.reading import Run

if TYPE_CHECKING:
    from cnnlab.data.datamodule import ImageDataModule

T = TypeVar("T")


class Facts:
    """Record of a run with its probes. What cannot be had raises NotMeasured, with the reason.

    Args:
        run: the record.
        settings: its settings, as `cnnlab train` composes them; None if they are lost.
        rehearsed: whether this is a short training on a part of the data, before the real one.
    """

    def __init__(self, run: Run, settings: Mapping[str, Any] | None, rehearsed: bool = False):
        self.run, self.summary, self.rehearsed = run, run.summary, rehearsed
        self._settings = settings
        self._kept: dict[str, Any] = {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the run, with all keys of `cnnlab train`."""
        if self._settings is None:
            raise NotMeasured("the settings of the run (config.yaml) are lost")
        return self._settings

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Columns of metrics.csv, float64, a value per epoch; NaN where there is none or it was not finite."""
        return {name: np.array(values, dtype=np.float64) for name, values in self.run.curve.items()}

    def curve(self, name: str) -> np.ndarray:
        """Return a column of metrics.csv with at least one epoch."""
        values = self.curves.get(name)
        if values is None or not len(values):
            raise NotMeasured("the run has not completed an epoch")
        return values

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return self.summary["status"] == "diverged"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.summary["classes"] or ()) or len(self.data.classes)

    @property
    def chance(self) -> float:
        """Accuracy of an answer that is always the largest class of the test images, or of any class."""
        return self.summary["test_largest_class"] or 1 / self.classes

    @cached_property
    def data(self) -> "ImageDataModule":
        """Images of the run, split and augmented as it was trained; on the CPU."""
        from cnnlab.build.run import build_data

        return self.measure("the images", lambda: build_data(self.settings))

    def measure(self, name: str, probe: Callable[[], T]) -> T:
        """Return what a probe measures, once; raise NotMeasured, each time, if it fails. `name` says what it is."""
        if name not in self._kept:
            try:
                self._kept[name] = probe()
            except NotMeasured as error:
                self._kept[name] = error
            except Exception as error:  # networks, data and functions of the user may raise anything
                self._kept[name] = NotMeasured(f"{name}: {describe_error(error)}")
        if isinstance(kept := self._kept[name], NotMeasured):
            raise kept
        return kept

    def again(self, *changes: str) -> str:
        """Return the command of the run with other values, such as `optimizer.lr=0.01`."""
        words = shlex.split(self.summary["command"] or "cnnlab train")
        keys = {change.lstrip("+~").partition("=")[0] for change in (*changes, "resume=", "name=")}
        kept = [word for word in words if word.lstrip("+~").partition("=")[0] not in keys]
        return shlex.join([*kept, *changes])
