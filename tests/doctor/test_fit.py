"""Curves tell of too much and too little learning, and the record of what the best epoch was chosen on."""

from types import SimpleNamespace

import pytest

from cnnlab.doctor import answers, fit
from tests.doctor.helpers import Told, curves


def told(accuracy, **more):
    summary = more.pop("summary", {})
    return Told(lambda *_, **__: 1.0, curves(accuracy, **more), **summary)


def test_overfitting_is_marked_from_the_least_validation_loss_on():
    val = {"val_loss": [1.5, 1.0, 1.4, 2.0], "val_accuracy": [0.4, 0.6, 0.62, 0.61]}
    found = fit.overfitting(told([0.4, 0.7, 0.95, 0.99], **val))
    assert found is not None and found.where is not None
    assert (found.where.first, found.where.last) == (2, 4)
    assert "the validation loss is 2.00 (lowest in epoch 2, with 1.00)" in found.evidence


def test_images_that_were_learned_by_heart_are_overfitted_if_validation_stays_behind():
    """A training loss next to nothing, and a validation loss that is flat."""
    val = {"train_loss": [2.0, 0.5, 0.01, 0.002], "val_loss": [2.0, 0.5, 0.2, 0.19]}
    assert fit.overfitting(told([0.4, 0.9, 1.0, 1.0], val_accuracy=[0.3, 0.88, 0.93, 0.94], **val)) is not None
    assert fit.overfitting(told([0.4, 0.9, 1.0, 1.0], val_accuracy=[0.3, 0.88, 0.97, 0.98], **val)) is None


def test_a_gap_whose_validation_loss_still_falls_is_left_in_peace():
    val = {"val_loss": [1.9, 1.5, 1.3, 1.2], "val_accuracy": [0.3, 0.45, 0.5, 0.55]}
    assert fit.overfitting(told([0.4, 0.6, 0.7, 0.72], **val)) is None


@pytest.mark.parametrize(("own", "linear", "found"), [(0.5, 0.95, True), (0.85, 0.95, False), (0.5, 0.4, False)])
def test_underfitting_is_worse_than_a_linear_classifier(monkeypatch, own, linear, found):
    facts = told([own - 0.02, own, own, own])
    monkeypatch.setattr(facts, "score", lambda origin: SimpleNamespace(accuracy=own))
    monkeypatch.setattr(answers, "guesses", lambda facts, split: SimpleNamespace(accuracy=linear))
    assert (fit.underfitting(facts) is not None) == found


def test_selection_on_the_test_images_is_told_with_what_it_may_have_gained():
    facts = told([0.5, 0.8, 0.7, 0.72], summary={"protocol": "article"})
    found = fit.selected_on_test(facts)
    assert found is not None
    assert "80.0%" in found.evidence
    assert "protocol=holdout" in found.command
    assert fit.selected_on_test(told([0.5, 0.8], summary={"protocol": "holdout"})) is None
