"""Make facts as a run would leave them, without training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.probes import Short
from cnnlab.runs.reading import Run
from cnnlab.runs.summary import SUMMARY_KEYS

FIRST = 2.3  # loss of ten classes before the first step
SETTINGS = {
    "model": {"_target_": "cnnlab.models.lenet.LeNet5", "activation": "relu"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "weight_decay": 5e-4},
    "trainer": {"max_epochs": 4},
    "data": {"batch_size": 32},
}


class Told(Facts):
    """Facts whose short trainings end at losses that a function tells: of their origin and changes."""

    def __init__(
        self, shorts: Callable[..., float], curves: Mapping[str, Sequence[float]], settings: Any = None, **summary: Any
    ):
        record = {
            "status": "completed",
            "lr": 0.1,
            "classes": list("abcdefghij"),
            "command": "cnnlab train data=digits",
        }
        run = Run(
            Path("nowhere"),
            dict.fromkeys(SUMMARY_KEYS) | record | summary,
            None,
            {k: list(v) for k, v in curves.items()},
        )
        super().__init__(run, SETTINGS | (settings or {}))
        self.tell = shorts

    def short(self, origin: str = "start", longer: int = 1, **changes: Any) -> Short:
        """Return a training of 40 steps that falls evenly to the loss that is told."""
        loss = self.tell(origin, longer=longer, **changes)
        losses = np.r_[np.linspace(FIRST, 2.3, 30), np.full(10, loss)]
        return Short(losses, np.full(40, 0.1), np.ones(40), 0.0, None)  # pyright: ignore[reportArgumentType]


def curves(accuracy: Sequence[float], **more: Sequence[float]) -> dict[str, Sequence[float]]:
    """Return the curves of a run with these training accuracies; the rate is constant unless it is told."""
    losses = [FIRST * (1 - value) for value in accuracy]
    own = {"train/accuracy": accuracy, "val/accuracy": accuracy, "train/loss": losses, "val/loss": losses}
    return {"lr": [0.1] * len(accuracy), **own, **{name.replace("_", "/"): values for name, values in more.items()}}
