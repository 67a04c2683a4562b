"""Time training steps in this process; the tests take the part of the parent process."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cnnlab.build import run
from cnnlab.speed import steps as module
from cnnlab.speed.steps import StepClock, time_training


def test_the_clock_does_not_count_the_end_of_an_epoch():
    clock = StepClock(torch.device("cpu"))
    clock.begin()
    for pause in (0.01, 0.03):
        time.sleep(pause)
        clock.step()
    time.sleep(0.2)  # the end of an epoch
    clock.begin()
    time.sleep(0.01)
    clock.step()
    assert clock.steps == 3
    first, second, third = clock.take()
    assert first < second
    assert third < 0.2
    assert (clock.steps, clock.take()) == (0, [])


@pytest.fixture
def settings(train) -> dict[str, Any]:
    """Settings of LeNet-5 on the digits with batches of 500 images: 2 full ones and a smaller one per epoch."""
    overrides = ("data=digits", "model=lenet5", "data.batch_size=500", "logger=none", "trainer.max_epochs=1")
    train(*overrides, "trainer.limit_train_batches=1", "hydra.run.dir=run")
    return yaml.safe_load(Path("run/config.yaml").read_text()) | {"callbacks": None}


def turns(settings: dict[str, Any], steps: int | None, times: int) -> list[dict[str, Any]]:
    """Return the reports of a training: of its first step, its warm-up, and `times` turns."""
    reports: list[dict[str, Any]] = []

    def report(result: dict[str, Any]) -> bool:
        reports.append(result)
        return len(reports) < times + 2

    settings["trainer"] |= {"max_epochs": 1000, "limit_train_batches": 1.0, "limit_val_batches": 0}
    time_training({"settings": settings, "steps": steps}, report)
    return reports


def test_turns_count_their_steps_and_images(settings):
    first, warm_up, one, other = turns(settings, steps=6, times=2)
    assert (first["parameters"], first["macs"]) == (62_006, 651_720)
    assert first["machine"]["device"].startswith("cpu")
    assert [len(turn["train"]["seconds"]) for turn in (first, warm_up, one, other)] == [1, module.WARM_UP_STEPS, 6, 6]
    assert [turn["train"]["images"] for turn in (one, other)] == [6 * 500] * 2  # smaller batches are left out
    assert len(one["inference"]["seconds"]) == 6
    assert all(
        seconds > 0 for turn in (one, other) for part in ("train", "inference") for seconds in turn[part]["seconds"]
    )
    assert one["peak_memory_bytes"] > 100e6


def test_the_length_of_a_turn_is_chosen_by_time(settings, monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", 1e-9)
    *_, one = turns(settings, steps=None, times=1)
    assert len(one["train"]["seconds"]) == module.FEWEST_STEPS
    monkeypatch.setattr(module, "TURN_SECONDS", 1e9)
    monkeypatch.setattr(module, "MOST_STEPS", 7)
    *_, one = turns(settings, steps=None, times=1)
    assert len(one["train"]["seconds"]) == 7


def test_the_network_goes_on_learning_after_the_inference(settings, monkeypatch):
    modes: list[bool] = []
    build_classifier = run.build_classifier

    def watched(*arguments: Any) -> Any:
        built = build_classifier(*arguments)
        built.network.register_forward_hook(lambda network, images, logits: modes.append(network.training))
        return built

    monkeypatch.setattr(run, "build_classifier", watched)
    monkeypatch.setattr(run, "rehearse", lambda *arguments: None)  # its passes are none of the benchmark
    turns(settings, steps=3, times=1)
    uncounted = module.UNCOUNTED_STEPS
    warm_up, inference = [True] * (1 + module.WARM_UP_STEPS), [False] * (uncounted + 3)
    assert modes[: len(warm_up)] == warm_up
    assert modes[len(warm_up) :] == [*inference, *([True] * (uncounted + 3)), *inference]
