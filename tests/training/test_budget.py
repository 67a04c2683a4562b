"""Test the budget of time on a machine whose clock is part of the test."""

import sys
from dataclasses import dataclass

import pytest
import torch

from cnnlab.models.lenet import LeNet5
from cnnlab.training import budget
from cnnlab.training.duration import share_done
from tests.helpers import TWO, checkpoint, metrics, same_weights, stop_when_asked, summary

SHORT = ("data=digits", "model=lenet5", "logger=none", "trainer.precision=32-true", "data.batch_size=64")
SIZES = "augmentation.sizes=[[0,16],[0.3,24],[0.6,32]]"


@dataclass
class Machine:
    """A clock that goes on when LeNet-5 sees images: by so many seconds for each, in proportion to its pixels."""

    pace: float = 3e-4
    now: float = 0.0
    slows_at: float = float("inf")  # from then on it is half as fast

    def see(self, network: LeNet5, images: torch.Tensor) -> None:
        share = len(images) * images.shape[-1] ** 2 / 32**2
        slow = 2 if self.now > self.slows_at else 1
        self.now += share * self.pace * slow * (1 if network.training else 0.4)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine, forward = Machine(), LeNet5.forward

    def seen(network: LeNet5, images: torch.Tensor) -> torch.Tensor:
        machine.see(network, images)
        return forward(network, torch.nn.functional.interpolate(images, size=32))

    monkeypatch.setattr(LeNet5, "forward", seen)
    monkeypatch.setattr(budget, "clock", lambda: machine.now)
    return machine


def used(folder) -> float:
    """Return the seconds that a budget had used when the last checkpoint was written, on its own clock."""
    return checkpoint(folder)["callbacks"]["Budget"]["seconds"]


@pytest.mark.parametrize(
    ("options", "slows_at"),
    [
        ((), float("inf")),
        ((SIZES,), float("inf")),
        ((SIZES,), 0.9),
        (("augmentation.sizes=[[0,16],[2,32]]", "trainer.accumulate_grad_batches=2"), float("inf")),
        (("recipe=resnet_paper", "trainer.check_val_every_n_epoch=3"), 0.5),
    ],
)
def test_the_training_ends_with_its_time_and_the_rate_with_it(train, tmp_path, machine, options, slows_at):
    machine.slows_at = slows_at
    outcome = train(*SHORT, *options, "budget=2", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert used(tmp_path / "run") == pytest.approx(2, rel=0.03)
    record, state = summary(tmp_path / "run"), checkpoint(tmp_path / "run")["lr_schedulers"][0]
    assert record["steps"] == record["plan"][-1][1]
    assert state["moves"] == state["length"] == record["plan"][0][1]
    assert metrics(tmp_path / "run")[-1]["val/loss"] or "check_val_every_n_epoch" in str(options)


def test_a_run_with_the_plan_of_another_is_the_same(train, tmp_path, machine):
    machine.slows_at = 0.5
    train(*SHORT, SIZES, "budget=00:00:01", "hydra.run.dir=timed")
    plan = summary(tmp_path / "timed")["plan"]
    assert len(plan) > 1
    machine.pace = 1.0
    outcome = train(*SHORT, SIZES, f"budget={plan}".replace(" ", ""), "hydra.run.dir=planned")
    assert outcome.code == 0, outcome.err
    assert same_weights(tmp_path / "timed", tmp_path / "planned")
    assert metrics(tmp_path / "timed", without="seconds") == metrics(tmp_path / "planned", without="seconds")
    assert summary(tmp_path / "planned")["plan"] == plan


def test_a_plan_of_one_pair_is_a_number_of_epochs(train, tmp_path):
    assert train(*SHORT, "budget=[[0,32]]", "hydra.run.dir=planned").code == 0
    assert train(*SHORT, "trainer.max_epochs=1.5", "hydra.run.dir=epochs").code == 0
    assert same_weights(tmp_path / "planned", tmp_path / "epochs")


def test_a_resumed_run_goes_on_with_its_plan_and_its_time(train, tmp_path, machine, monkeypatch):
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 30)
        assert train(*SHORT, "budget=2", "hydra.run.dir=run").code == 130
    before, plan = used(tmp_path / "run"), summary(tmp_path / "run")["plan"]
    assert 0.2 < before < 1
    machine.now += 1000  # nobody trains
    outcome = train("resume=run")
    assert outcome.code == 0, outcome.err
    assert summary(tmp_path / "run")["plan"][: len(plan)] == plan
    assert used(tmp_path / "run") == pytest.approx(2, rel=0.03)


@pytest.mark.slow
def test_two_processes_agree(train, tmp_path):
    outcome = train(*SHORT, *TWO, "budget=6", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    record = summary(tmp_path / "run")
    assert record["steps"] == record["plan"][-1][1] > 20
    assert record["train_seconds"] < 12


def test_nothing_of_a_network_changes_when_it_is_measured(train, tmp_path, machine):
    dropout = ("data=digits", "model=article", "model.width=0.1", "logger=none", "trainer.precision=32-true")
    for run, key in (("planned", "budget=[[0,9]]"), ("timed", "budget=1e9")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(budget.Budget, "_steps_that_fit", lambda *_: 9)
            outcome = train(*dropout, key, f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.err
    assert same_weights(tmp_path / "planned", tmp_path / "timed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("budget=60", "trainer.max_epochs=3"), "trainer.max_epochs: the budget decides how long the training is"),
        (("budget=60", "trainer.max_steps=3"), "trainer.max_steps: the budget decides"),
        (("budget=60", "trainer.max_time=00:00:05:00"), "trainer.max_time: the budget decides"),
        (("budget=5m",), "budget must be hours:minutes:seconds, such as 00:05:00, or seconds, got '5m'"),
        (("budget=0",), "budget must be hours:minutes:seconds"),
        (("budget=[[0,9],[9,12]]",), "budget must be a time, or the plan in a record"),
        (("budget=[[3,9]]",), "budget must be a time, or the plan in a record"),
        (("trainer.max_epochs=null",), "trainer.max_epochs must be a number unless there is a budget=TIME"),
    ],
)
def test_wrong_requests_are_refused_in_a_line(train, tmp_path, arguments, words):
    outcome = train(*SHORT, *arguments, "hydra.run.dir=run")
    assert (outcome.code, words in outcome.err.replace("\n", " ")) == (2, True), outcome.err
    assert not (tmp_path / "run").exists()


def test_a_budget_in_which_only_the_head_would_learn_is_refused(train, machine):
    outcome = train(*SHORT, "freeze=2", "budget=0.1")
    assert outcome.code == 2
    assert "in all of which only the head would learn; freeze=all says so" in outcome.err.replace("\n", " ")


def test_the_share_of_a_plan() -> None:
    assert [share_done([[0, 4]], step) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    plan = [[0, 4], [2, 10]]  # half is done after 2 steps, and the other half takes 8
    assert [share_done(plan, step) for step in (0, 1, 2, 6, 10)] == [0, 0.25, 0.5, 0.75, 1]
    assert share_done([], 5) == 0
    assert sys.float_info.epsilon > abs(share_done([[0, 7], [3, 5]], 4) - (3 / 7 + 4 / 7 / 2))
