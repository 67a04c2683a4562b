"""Sweeps from the command line, without starting their jobs; tests/runs/test_sweep_processes.py starts real ones."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from cnnlab.config import settings
from cnnlab.errors import SweepFailed
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.jobs import Job
from cnnlab.runs.processes import Rank

DIGITS = ("data=digits", "model=lenet5", "logger=none")


class Started:
    """Stands for the process of a job: it composes the configuration, and leaves a record at once."""

    commands: list[list[str]]

    def __init__(self, command: Sequence[str], directory: Path, environment: dict[str, str]):
        self.commands.append(list(command[3:]))
        arguments = [argument for argument in command[3:] if not argument.startswith("hydra.")]
        config = settings(hydra.compose("train", arguments))
        self.code = 1 if config["seed"] in (13, 14) else 0
        run = RunDirectory(directory)
        with run.recording(config, name=config["name"], seed=config["seed"], val_accuracy=0.5):
            pass
        if config["seed"] == 13:
            run.update_summary(status="failed", error="RuntimeError: unlucky")
        if config["seed"] == 14:
            run.update_summary(status="diverged", error="the loss is not finite in epoch 2")

    def poll(self) -> int:
        return self.code

    def kill(self) -> None: ...


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of the jobs that a sweep starts, which are not run."""
    monkeypatch.setattr("cnnlab.runs.jobs.LocalProcess", Started)
    monkeypatch.setattr("cnnlab.runs.jobs.POLL_EVERY", 0)
    monkeypatch.setattr(Started, "commands", [], raising=False)
    return Started.commands


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[[str], None]:
    """Writes `experiments/question.yaml`."""

    def write(text: str) -> None:
        (tmp_path / "experiments").mkdir(exist_ok=True)
        (tmp_path / "experiments" / "question.yaml").write_text(text)

    return write


def jobs(commands: list[list[str]], *keys: str) -> list[tuple[str, ...]]:
    """The values of some keys in each command."""
    given: list[dict[str, str]] = []
    for command in commands:
        parts = [argument.partition("=") for argument in command]
        given.append({key: value for key, _, value in parts})
    return [tuple(values.get(key, "-") for key in keys) for values in given]


def test_a_sweep_starts_every_combination_in_its_own_directory(train, started, tmp_path):
    outcome = train("-m", *DIGITS, "model=lenet5,article", "seed=0,1", "hydra.verbose=false")
    assert outcome.code == 0
    assert jobs(started, "model", "seed") == [("lenet5", "0"), ("lenet5", "1"), ("article", "0"), ("article", "1")]
    assert all("hydra.verbose=false" in command and "hydra.mode=RUN" in command for command in started)
    records = sorted(path.parent for path in tmp_path.glob("runs/sweep/*/*/summary.json"))
    assert [path.name for path in records] == ["article_seed-0", "article_seed-1", "lenet5_seed-0", "lenet5_seed-1"]
    assert "[4/4] completed" in outcome.out
    assert "val 50.00%" in outcome.out


def test_a_comparison_is_suggested_once_after_a_sweep_on_a_terminal(train, started, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    outcome = train("-m", *DIGITS, "seed=0,1", "hydra.sweep.dir=my sweep")
    assert (outcome.code, outcome.err.count("Next: ")) == (0, 1)
    assert "Next: cnnlab compare 'runs=my sweep'\n" in outcome.err
    assert "Next: " not in train("-m", *DIGITS, "seed=0,13", "hydra.sweep.dir=failing").err


def test_a_combination_that_is_given_twice_is_run_once(train, started):
    assert train("-m", *DIGITS, "model=lenet5", "seed=4,4").code == 0
    assert len(started) == 1


def test_the_same_command_again_runs_nothing(train, started, tmp_path):
    train(*DIGITS, "seeds=2")
    before = sorted(tmp_path.rglob("*"))
    outcome = train(*DIGITS, "seeds=2")
    assert (outcome.code, len(started)) == (0, 2)
    assert outcome.out.count("completed before") == 4  # when it starts, and in the table
    assert sorted(tmp_path.rglob("*")) == before


def test_a_longer_sweep_runs_what_is_new(train, started, tmp_path):
    train(*DIGITS, "seeds=2")
    assert train(*DIGITS, "-m", "seed=0,1,2").code == 0
    assert jobs(started, "seed") == [("0",), ("1",), ("2",)]


def test_new_jobs_use_the_number_format_of_earlier_ones(train, started, tmp_path):
    train(*DIGITS, "seeds=2")
    run = RunDirectory(next(tmp_path.glob("runs/sweep/*/seed-1")))
    run.update_summary(**(run.read_summary() or {}) | {"precision": "bf16-mixed", "device": "2 x cpu: Intel, 1 thread"})
    train(*DIGITS, "seeds=3")
    assert [file.read_text() for file in tmp_path.glob("runs/sweep/*/.precision-cpu")] == ["bf16-mixed"]


def test_a_changed_setting_is_another_run(train, started, tmp_path):
    train(*DIGITS, "seeds=1")
    train(*DIGITS, "seeds=1", "optimizer.lr=0.3")
    assert len(started) == 2


def test_what_was_interrupted_goes_on_in_its_place(train, started, tmp_path):
    train(*DIGITS, "seeds=2")
    run = RunDirectory(next(tmp_path.glob("runs/sweep/*/seed-1")))
    run.last_checkpoint.parent.mkdir()
    run.last_checkpoint.touch()
    run.update_summary(**(run.read_summary() or {}) | {"status": "interrupted"})
    outcome = train(*DIGITS, "seeds=2")
    assert (outcome.code, "resumed" in outcome.out) == (0, True)
    assert jobs(started[2:], "seed", "resume", "hydra.run.dir") == [
        ("1", "auto", str(run.path.relative_to(tmp_path))),
    ]


def test_what_failed_is_listed_and_runs_again(train, started, tmp_path):
    outcome = train(*DIGITS, "seeds=[12,13]")
    assert outcome.code == 1
    assert "1 of 2 jobs were not completed:\n  seed-13: exit code 1: RuntimeError: unlucky (runs/" in outcome.err
    assert train(*DIGITS, "seeds=[12,13]").code == 1
    assert jobs(started, "seed") == [("12",), ("13",), ("13",)]


def test_what_diverged_is_a_result_and_does_not_run_again(train, started, tmp_path):
    for _ in range(2):
        outcome = train(*DIGITS, "seeds=[12,14]")
        assert (outcome.code, jobs(started, "seed")) == (1, [("12",), ("14",)])
        assert "seed-14: diverged: the loss is not finite in epoch 2 (runs/" in outcome.err
    assert "diverged before" in train(*DIGITS, "seeds=[12,14]").out


def test_what_another_process_runs_is_left_to_it(train, started, tmp_path):
    train(*DIGITS, "seeds=1")
    run = RunDirectory(next(tmp_path.glob("runs/sweep/*/0")))
    run.update_summary(**(run.read_summary() or {}) | {"status": "running"})
    with run.locked():
        outcome = train(*DIGITS, "seeds=1")
    assert (outcome.code, len(started)) == (1, 1)
    assert "another process is running it" in outcome.err


def test_an_experiment_holds_its_sweep(train, started, experiment, tmp_path):
    experiment(
        "defaults: [override /data: digits]\n"
        "sweep:\n  model: [lenet5, article]\n  optimizer.lr: 0.2\nseeds: 2\nlogger: null\n"
    )
    assert train("experiment=question").code == 0
    assert jobs(started, "model", "optimizer.lr", "seed") == [
        ("lenet5", "0.2", "0"),
        ("lenet5", "0.2", "1"),
        ("article", "0.2", "0"),
        ("article", "0.2", "1"),
    ]
    assert len(list(tmp_path.glob("runs/question/*/*/summary.json"))) == 4
    assert all(json.loads(file.read_text())["name"] == "question" for file in tmp_path.glob("runs/*/*/*/summary.json"))
    # A part of it is done already, with -m or without.
    assert train("-m", "experiment=question", "model=lenet5", "seeds=3").code == 0
    assert jobs(started[4:], "model", "optimizer.lr", "seed") == [("lenet5", "0.2", "2")]


def test_a_list_of_sweeps_runs_one_after_the_other(train, started, experiment):
    experiment(
        "defaults: [override /data: digits]\n"
        "sweep:\n  - {model: lenet5, model.activation: [relu, tanh]}\n  - {model: article, recipe: standard}\n"
    )
    assert train("experiment=question", "seed=5").code == 0
    assert jobs(started, "model", "model.activation", "recipe", "seed") == [
        ("lenet5", "relu", "-", "5"),
        ("lenet5", "tanh", "-", "5"),
        ("article", "-", "standard", "5"),
    ]


def test_a_choice_that_makes_entries_equal_is_run_once(train, started, experiment):
    experiment("defaults: [override /data: digits]\nsweep: [{model: lenet5}, {model: article}]\n")
    assert train("experiment=question", "model=lenet5").code == 0
    assert len(started) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeds=0"], "seeds must be a number of seeds"),
        (["seeds=2", "seed=1"], "seeds: give either seeds= or seed="),
        (["seeds=2", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs must be 1 or more, got 0"),
        (["seeds=2", "hydra/launcher=isolate"], "hydra/launcher=isolate is not known"),
        (
            ["-m", "seed=range(0,1000000000)"],
            "seed: a sweep has at most 10,000 jobs, this one would have 1,000,000,000",
        ),
        (["-m", "seed=range(0,9999999)", "hydra/sweeper=basic"], "seed: a sweep has at most 10,000 jobs"),
        (["-m", "seed=range(0,101)", "optimizer.lr=range(1,2,0.01)"], "a sweep has at most 10,000 jobs"),
        (["-m", "optimizer.lr=range(0.0,1.0,0.0)"], "optimizer.lr=range(0.0,1.0,0.0): this range has no values"),
        (["-m", "seed=range(5,2)"], "seed=range(5,2): this range has no values, or no end"),
        (["-m", "seed=0,1", "model=lenet6"], "model=lenet6 is not known; did you mean model=lenet5?"),
        (["-m", "seed=0,1", "model.foo=1"], "model.foo is not a key"),
        (["-m", "experiment=question,demo"], "experiment: question is itself a sweep; start it with its own command"),
    ],
)
def test_a_wrong_sweep_is_explained_and_leaves_nothing(train, started, experiment, tmp_path, arguments, message):
    experiment("seeds: 2\n")
    outcome = train("data=digits", *arguments)
    assert (outcome.code, started) == (2, [])
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "runs").exists()


def test_an_experiments_wrong_sweep_is_named(train, experiment):
    experiment("sweep: {model: {activation: [relu]}}\n")
    outcome = train("data=digits", "experiment=question")
    assert (outcome.code, "question.yaml: sweep.model must be a value or a list of values" in outcome.err) == (2, True)


def test_a_sweep_is_not_started_by_several_processes(train, started, monkeypatch):
    train("--cfg", "job")  # Hydra has loaded the sweeper
    monkeypatch.setattr(sys.modules["hydra_plugins.cnnlab_sweep.sweeper"], "own_rank", lambda: Rank(0, 2))
    outcome = train(*DIGITS, "seeds=2")
    assert (outcome.code, "leave torchrun or srun out" in outcome.err) == (2, True)


def test_an_experiments_sweep_is_no_business_of_other_commands(command, experiment):
    experiment("sweep: {model: [lenet5, article]}\n")
    assert command("benchmark", "--cfg", "job", "experiment=question").code == 0


def test_sweepers_are_told_the_accuracy_of_every_job(train, started):
    train("--cfg", "job")  # Hydra has loaded the launcher
    job_returns = sys.modules["hydra_plugins.cnnlab_sweep.launcher"].job_returns
    done = Job("a", ["seed=0"], [], Path("a"), None, state="completed", record={"val_accuracy": 0.7})
    failed = Job("b", ["seed=1"], [], Path("b"), None, state="failed", reason="killed by SIGKILL", code=-9)
    configs = [OmegaConf.create({"seed": seed, "hydra": {"job": {"name": "train"}}}) for seed in (0, 1)]
    one, other = job_returns([done, failed], configs)
    assert (one.status, one.return_value, one.cfg) == (JobStatus.COMPLETED, 0.7, {"seed": 0})
    assert other.status == JobStatus.FAILED
    with pytest.raises(SweepFailed, match="b: killed by SIGKILL"):
        _ = other.return_value


def test_another_sweeper_can_start_the_jobs(train, started):
    assert train("-m", *DIGITS, "seed=1,2", "hydra/sweeper=basic").code == 0
    outcome = train("-m", *DIGITS, "seed=1,13", "hydra/sweeper=basic")
    assert (outcome.code, "seed-13: exit code 1: RuntimeError: unlucky" in outcome.err) == (1, True)
    assert "Traceback" not in outcome.err
