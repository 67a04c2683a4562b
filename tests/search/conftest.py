"""Run studies whose runs are short shell scripts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.search.space import read_space
from cnnlab.search.study import Options, SharedStudy
from cnnlab.search.trials import Trials

SPACE = {
    "optimizer.lr": {"float": [0.01, 1.0], "log": True},
    "model.activation": {"choice": ["relu", "tanh"]},
    "model.slope": {"float": [0.0, 1.0], "when": {"model.activation": "tanh"}},
}
OPTIONS = Options(trials=5, sampler="random", sampler_seed=0, pruner="median", startup_trials=1, warmup_epochs=1)
ABOUT = {"choices": {"model": "lenet5"}, "settings": {"optimizer": {"lr": 0.1}}}


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.runs.jobs.POLL_EVERY", 0.01)


@pytest.fixture
def open_study(tmp_path: Path) -> Callable[..., SharedStudy]:
    """Return a function that opens the study in the test's folder, as each process does."""

    def open_it(trials: int = 5, about: dict[str, Any] = ABOUT, first: Any = None, **more: Any) -> SharedStudy:
        options = Options(**{**vars(OPTIONS), "trials": trials})
        return SharedStudy(tmp_path, None, read_space(SPACE), about, options, first, **more)

    return open_it


def epochs(accuracy: float, loss: str = "1.0", count: int = 4, macs: float = 1000) -> str:
    """Return a script that writes the files of a run, and stops on SIGINT."""
    rows = "".join(f"echo {epoch},{loss},{accuracy} >> metrics.csv; sleep 0.03; " for epoch in range(1, count + 1))
    record = 'echo \'{"status": "%s", "val_accuracy": %s, "macs": MACS}\' > summary.json; '
    record = record.replace("MACS", f"{macs:.0f}")
    stop = f"trap {json.dumps(record % ('interrupted', accuracy) + 'exit 130')} INT; "
    start = record % ("running", "null") + "echo epoch,train/loss,val/accuracy > metrics.csv; "
    return (stop + start + rows).replace('"{', "'{") + record % ("completed", accuracy)


def run(
    study: SharedStudy,
    *scripts: str | list[str],
    timeout: float | None = None,
    at_once: int = 1,
    follow: Callable[[Any], None] = lambda job: None,
) -> list[tuple[str, str]]:
    """Run the study with a script for each trial, or one for each of its seeds; return the states in order.

    The last script is that of all further trials.
    """

    def command(values: dict[str, Any], directory: Path) -> list[str]:
        number, _, seed = directory.name.partition("_seed")
        script = scripts[min(int(number), len(scripts) - 1)]
        if isinstance(script, list):
            script = script[study.seeds.index(int(seed))]
        return ["bash", "-c", f"cd {directory}; {script}"]

    trials = Trials(study, command, [{}] * at_once, epochs=4, timeout=timeout)
    states = []
    for job in trials.run():
        follow(job)
        states += [] if job is None else [(job.name, job.state)]
    return states
