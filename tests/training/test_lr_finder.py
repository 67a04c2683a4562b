import math
from pathlib import Path

import pytest
import torch

from cnnlab.errors import RequestError
from cnnlab.instantiate import build
from cnnlab.training.lr_finder import LIGHTNINGS_DECAY, rate_of_lowest_loss, smooth_losses
from tests.helpers import checkpoint, summary


def running_means(losses: list[float]) -> list[float]:
    """Return what Lightning's search returns for these losses."""
    mean, means = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = LIGHTNINGS_DECAY * mean + (1 - LIGHTNINGS_DECAY) * loss
        means.append(mean / (1 - LIGHTNINGS_DECAY ** (step + 1)))
    return means


def test_smoothing_neither_lags_nor_shrinks_the_first_losses() -> None:
    assert smooth_losses(running_means([2.3] * 40)) == pytest.approx([2.3] * 40)
    valley = [abs(step - 30) + 1.0 for step in range(60)]
    found = smooth_losses(running_means(valley))
    assert found.index(min(found)) == 30
    assert found[10] == pytest.approx(21)
    assert smooth_losses([]) == []


def test_the_rate_of_the_lowest_loss_is_chosen() -> None:
    rates = [10.0**i for i in range(-4, 2)]
    assert rate_of_lowest_loss(rates, [2.3, 2.29, 2.0, 1.8, 2.5, math.nan]) == 0.1
    assert rate_of_lowest_loss(rates, [2.3, 2.29, 2.31, 2.5]) is None
    assert rate_of_lowest_loss(rates, []) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_lr": 0.0}, "min_lr must be above 0, got 0.0"),
        ({"min_lr": 0.0001, "max_lr": 1e-5}, "min_lr must be below max_lr, 1e-05, got 0.0001"),
        ({"num_training_steps": 3}, "num_training_steps must be 22 or more, got 3"),
    ],
)
def test_values_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(RequestError, match=f"^callbacks.lr_finder.{message}$"):
        build({"_target_": "cnnlab.training.lr_finder.LearningRateFinder", **options}, "callbacks.lr_finder")


TINY = (
    *("data=digits", "model=resnet20", "model.width=0.5", "data.image_size=16", "logger=none", "data.batch_size=16"),
    "trainer.precision=32-true",
    *("trainer.limit_train_batches=6", "trainer.max_epochs=2", "trainer.limit_test_batches=1"),
)
SEARCH = ("callbacks=lr_finder", "callbacks.lr_finder.num_training_steps=60", "callbacks.lr_finder.min_lr=0.001")


# The recipe fast averages its weights.
@pytest.mark.parametrize("recipe", [pytest.param("standard", marks=pytest.mark.slow), "fast"])
def test_a_search_changes_nothing_but_the_rate(train, tmp_path: Path, recipe: str) -> None:
    """Compare weights, norm statistics and averages with those of a run that was given the rate."""
    outcome = train(*TINY, *SEARCH, f"recipe={recipe}", "hydra.run.dir=searched")
    assert outcome.code == 0, outcome.err
    lr = summary(tmp_path / "searched")["lr"]
    assert 0.001 <= lr <= 10
    assert f"Learning rate {lr:.3g}" in outcome.out
    rows = (tmp_path / "searched" / "lr_finder.csv").read_text().splitlines()
    assert rows[0] == "lr,loss"
    assert 20 < len(rows) <= 61
    assert (tmp_path / "searched" / "lr_finder.png").stat().st_size > 5000
    assert train(*TINY, f"optimizer.lr={lr}", f"recipe={recipe}", "hydra.run.dir=given").code == 0
    assert summary(tmp_path / "given")["lr"] == lr
    searched, given = (checkpoint(tmp_path / name) for name in ("searched", "given"))
    for key in ("state_dict", "current_model_state"):
        for name, value in given.get(key, {}).items():
            assert torch.equal(searched[key][name], value), name


def test_a_resumed_run_keeps_its_rate(train, tmp_path: Path) -> None:
    train(*TINY, *SEARCH, "hydra.run.dir=run")
    lr = summary(tmp_path / "run")["lr"]
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert (outcome.code, "Learning rate" in outcome.out) == (0, False)
    assert summary(tmp_path / "run")["lr"] == lr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["recipe=speedrun"], "needs one rate for all parameters"),
        (["bias_lr_factor=2"], "needs one rate for all parameters"),
        (["callbacks.lr_finder.max_lr=0.0011"], "the loss does not fall at any rate from 0.001 to 0.0011"),
        (["callbacks.lr_finder.max_lr=0.0001"], "callbacks.lr_finder.min_lr must be below max_lr, 0.0001"),
    ],
)
def test_impossible_searches_are_explained(train, options: list[str], message: str) -> None:
    lenet = ("model=lenet5", "data.image_size=32")  # learns nothing with rates this low
    outcome = train(*TINY, *lenet, *SEARCH, *options)
    assert (outcome.code, message in outcome.err, len(outcome.err.splitlines())) == (2, True, 1)
