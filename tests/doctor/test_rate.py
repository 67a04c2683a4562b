"""A short training with another rate, or without the decay, tells what was wrong with it."""

import copy
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cnnlab.doctor import rate
from cnnlab.doctor.findings import NotMeasured
from cnnlab.doctor.probes import Layer
from tests.doctor.helpers import FIRST, Told, curves

AT_CHANCE, LEARNING = curves([0.1] * 4), curves([0.2, 0.4, 0.5, 0.6])


def by_rate(losses):
    """Tell losses by the factor on the rate."""
    return lambda origin="start", lr=1.0, **others: losses.get(lr, FIRST)


def test_a_rate_that_diverges_is_found_with_a_rate_that_learns():
    facts = Told(by_rate({1.0: np.inf, 0.1: np.inf, 0.01: 1.2}), AT_CHANCE, status="diverged", error="the loss is NaN")
    found = rate.rate_diverges(facts)
    assert found is not None
    assert "the loss is NaN" in found.evidence
    assert "at 0.01 times the rate to 1.2" in found.evidence
    assert "optimizer.lr=0.001" in shlex.split(found.command)


def test_a_network_that_learns_at_no_rate_has_another_fault():
    assert rate.rate_diverges(Told(by_rate({}), AT_CHANCE)) is None


@pytest.mark.parametrize("losses", [{1.0: 1.0, 0.1: 1.6}, {1.0: 1.0, 0.1: 0.95}])
def test_a_rate_that_learns_as_well_as_a_tenth_of_it_is_left_in_peace(losses):
    facts = Told(by_rate(losses), LEARNING)
    assert rate.rate_diverges(facts) is None
    assert rate.rate_oscillates(facts) is None


def test_a_loss_that_a_tenth_of_the_rate_lowers_jumps_about():
    found = rate.rate_oscillates(Told(by_rate({1.0: 1.5, 0.1: 0.5}), LEARNING))
    assert found is not None
    assert "1.5 at the run's rate" in found.evidence
    assert "optimizer.lr=0.01" in found.command


def test_a_rate_that_is_too_low_is_found_by_raising_it():
    found = rate.rate_too_low(Told(by_rate({1.0: 2.25, 10.0: 2.2, 100.0: 0.8}), curves([0.1, 0.11, 0.12, 0.14])))
    assert found is not None
    assert "0.80 at 100 times the rate" in found.evidence
    assert "optimizer.lr=10" in found.command


def test_weights_that_have_hardly_moved_show_a_rate_that_is_too_low(monkeypatch):
    """Deep networks may need more steps to leave chance than a short training has, at any rate."""
    network = torch.nn.Linear(4, 4, bias=False)
    moved = copy.deepcopy(network)
    with torch.no_grad():
        moved.weight *= 1.01
    facts = Told(by_rate({}), curves([0.1, 0.1, 0.11, 0.12]))
    facts.__dict__ |= {"start": SimpleNamespace(network=network), "trained": SimpleNamespace(network=moved)}
    monkeypatch.setattr(Told, "has_checkpoint", True)
    found = rate.rate_too_low(facts)
    assert found is not None
    assert "changed the weights by 1.0% of their size" in found.evidence
    with torch.no_grad():
        moved.weight *= 1.3
    assert rate.rate_too_low(facts) is None
    facts.tell = by_rate({10.0: 0.8})  # a higher rate would be quicker at first, but this one moves the weights
    assert rate.rate_too_low(facts) is None


def test_a_rate_at_which_the_images_were_learned_is_not_too_low():
    assert rate.rate_too_low(Told(by_rate({1.0: 2.25, 10.0: 0.2}), curves([0.5, 0.9, 0.98, 0.99]))) is None


def test_a_rate_that_ended_early_is_marked_from_there_on():
    fallen = curves([0.2, 0.3, 0.3, 0.3, 0.3, 0.3], lr=[0.1, 0.001, 1e-4, 1e-4, 1e-4, 1e-4])
    facts = Told(lambda origin, constant=None, **others: 1.0 if constant == 0.3 else 1.6, fallen)
    found = rate.rate_ended_early(facts)
    assert found is not None and found.where is not None
    assert (found.where.curve, found.where.first, found.where.last) == ("lr", 2, 6)
    falling = curves([0.2, 0.3, 0.3, 0.3, 0.3, 0.3], lr=[0.1, 0.08, 0.06, 0.04, 0.02, 0.001])
    assert rate.rate_ended_early(Told(lambda *_, **__: 1.0, falling)) is None


def test_a_warm_up_is_missing_if_it_helps_and_there_is_none():
    found = rate.warmup_missing(Told(lambda origin="start", warmup=False, **_: 0.9 if warmup else 2.3, AT_CHANCE))
    assert found is not None
    assert "schedule.warmup=0.2" in found.command
    assert rate.warmup_missing(Told(lambda *_, **__: 2.3, AT_CHANCE)) is None


def test_a_network_that_begins_slowly_gets_longer_trainings_to_show_that_a_warm_up_helps():
    def shorts(origin="start", longer=1, warmup=False, **_):
        return 1.4 if warmup and longer == 3 else 2.3

    found = rate.warmup_missing(Told(shorts, AT_CHANCE))
    assert found is not None
    assert "at 1.40 if the rate rises" in found.evidence


def test_a_decay_is_too_strong_if_the_weights_have_shrunk_away(monkeypatch):
    sizes = {"start": 0.1, "trained": 0.01}
    facts = Told(lambda origin, decay=1.0, **_: 1.0 if decay else 0.3, LEARNING)
    monkeypatch.setattr(facts, "layers", lambda origin: [Layer("fc.weight", sizes[origin], 0.1)])
    found = rate.decay_too_strong(facts)
    assert found is not None
    assert "shrank to 0.10 of their first size" in found.evidence
    assert "optimizer.weight_decay=5e-06" in found.command
    sizes["trained"] = 0.09
    assert rate.decay_too_strong(facts) is None


def test_a_loss_that_is_not_finite_before_the_first_step_says_nothing_of_the_rate(monkeypatch):
    facts = Told(by_rate({}), AT_CHANCE)
    short = facts.short()
    short.losses[0] = np.nan
    monkeypatch.setattr(facts, "short", lambda *_, **__: short)
    with pytest.raises(NotMeasured, match="before the first step"):
        rate.rate_diverges(facts)


@pytest.mark.parametrize(("size", "without", "is_found"), [(0.6, 0.97, True), (0.6, 0.995, False), (0.8, 0.5, False)])
def test_a_decay_that_shrinks_the_weights_a_little_is_too_strong_if_the_loss_falls_without_it(
    monkeypatch, size, without, is_found
):
    facts = Told(lambda origin, decay=1.0, **_: 1.0 if decay else without, LEARNING)
    sizes = {"start": 1.0, "trained": size}
    monkeypatch.setattr(facts, "layers", lambda origin: [Layer("a", sizes[origin], 1.0)])
    assert (rate.decay_too_strong(facts) is not None) == is_found


@pytest.mark.parametrize(
    ("validation", "last_rate", "lower", "is_found"),
    [
        ([0.3, 0.3, 0.32, 0.24, 0.3], 0.1, 0.9, True),
        ([0.3, 0.3, 0.32, 0.31, 0.33], 0.1, 0.9, False),  # it is steady
        ([0.3, 0.3, 0.32, 0.24, 0.3], 0.01, 0.9, False),  # the rate has fallen
        ([0.3, 0.3, 0.32, 0.24, 0.3], 0.1, 0.99, False),  # a lower rate changes nothing
    ],
)
def test_a_rate_that_is_too_high_at_the_end_is_no_missing_warm_up(monkeypatch, validation, last_rate, lower, is_found):
    rates = [0.1, 0.1, 0.1, 0.1, last_rate]
    seen = curves([0.2, 0.25, 0.3, 0.33, 0.35], lr=rates, val_accuracy=validation)

    def shorts(origin, lr=1.0, warmup=False, constant=1.0, **_):
        if origin == "trained":
            return 1.7 * (lower if constant < 0.5 else 1)
        return 1.0 if warmup else 1.9 if lr == 1 else 1.8

    monkeypatch.setattr(Told, "has_checkpoint", True)
    facts = Told(shorts, seen)
    found = rate.rate_oscillates(facts)
    assert (found is not None) == is_found
    assert (rate.warmup_missing(facts) is None) == is_found
    if found:
        assert "fell by up to 8.0% from one epoch to the next" in found.evidence
