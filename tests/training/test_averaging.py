from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.errors import RequestError
from cnnlab.instantiate import build
from cnnlab.training.averaging import AveragedWeights
from cnnlab.training.classifier import Classifier
from cnnlab.training.schedules import constant

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")  # between Lightning and torch

STEPS_PER_EPOCH = 6
State = dict[str, Tensor]


def make_loader(batches: int = STEPS_PER_EPOCH) -> Loader:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8 * batches, 4, 4, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (8 * batches,), generator=generator)
    half = torch.full((3,), 0.5)
    return Loader(Images.decoded(pixels, labels), batch_size=8, mean=half, std=half)


def make_classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    return Classifier(network, partial(torch.optim.SGD, lr=0.5), constant, nn.CrossEntropyLoss())


def copied(module: L.LightningModule) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Witness(Callback):
    """Record the weights after every step, and the validated weights."""

    def __init__(self) -> None:
        self.after_step: list[State] = []
        self.validated: list[State] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after_step.append(copied(pl_module))

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.validated.append(copied(pl_module))


def make_trainer(folder: Path, callbacks: list[Callback], epochs: int) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def fit(
    folder: Path, averaging: AveragedWeights, epochs: int, steps: int = STEPS_PER_EPOCH, checkpoint: Path | None = None
) -> tuple[Classifier, L.Trainer, Witness]:
    witness, classifier = Witness(), make_classifier()
    trainer = make_trainer(folder, [averaging, witness], epochs)
    trainer.fit(classifier, make_loader(steps), make_loader(2), ckpt_path=checkpoint)
    return classifier, trainer, witness


def expected_averages(states: list[State], decay: float, every: int) -> list[State]:
    """Return the average after every step by the formula: update n keeps min(decay ** every, (1 + n) / (10 + n))."""
    average, averages = states[0], []
    for step, state in enumerate(states, start=1):
        number, rest = divmod(step, every)
        if number <= 1 and (not rest or not number):
            average = state  # the first update keeps nothing
        elif not rest:
            keep = min(decay**every, (1 + number) / (10 + number))
            average = {
                name: keep * average[name] + (1 - keep) * value if value.is_floating_point() else value
                for name, value in state.items()
            }
        averages.append(average)
    return averages


def assert_close(state: State, expected: State) -> None:
    assert state.keys() == expected.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=name)


# The first and last case are limited by the warm-up throughout; the others reach their decay.
@pytest.mark.parametrize(("decay", "every"), [(0.998, 1), (0.3, 1), (0.5, 2), (0.9, 5)])
def test_the_average_equals_the_formula_and_is_validated(tmp_path: Path, decay: float, every: int) -> None:
    classifier, _, witness = fit(tmp_path, AveragedWeights(decay, every), epochs=3)
    averages = expected_averages(witness.after_step, decay, every)
    assert len(witness.after_step) == 3 * STEPS_PER_EPOCH
    for epoch, validated in enumerate(witness.validated, start=1):
        assert_close(validated, averages[epoch * STEPS_PER_EPOCH - 1])
    assert_close(copied(classifier), averages[-1])  # for the test
    last = witness.after_step[-1]
    assert not torch.allclose(averages[-1]["network.4.weight"], last["network.4.weight"], atol=1e-3)


def test_norm_statistics_are_averaged_but_not_their_counters(tmp_path: Path) -> None:
    classifier, _, witness = fit(tmp_path, AveragedWeights(0.9, 2), epochs=2)
    norm = classifier.network[1]  # pyright: ignore[reportIndexIssue]
    assert int(norm.num_batches_tracked) == 2 * STEPS_PER_EPOCH
    assert not torch.allclose(norm.running_mean, witness.after_step[-1]["network.1.running_mean"], atol=1e-4)


def test_averaging_does_not_change_the_optimizers_weights(tmp_path: Path) -> None:
    _, _, averaged = fit(tmp_path, AveragedWeights(0.9, 1), epochs=2)
    plain, classifier = Witness(), make_classifier()
    make_trainer(tmp_path, [plain], epochs=2).fit(classifier, make_loader(), make_loader(2))
    for with_average, without in zip(averaged.after_step, plain.after_step, strict=True):
        assert_close(with_average, without)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_training_shorter_than_the_first_update_gives_its_last_weights(tmp_path: Path, steps: int) -> None:
    classifier, _, witness = fit(tmp_path, AveragedWeights(0.998, every_n_steps=5), epochs=1, steps=steps)
    assert_close(witness.validated[0], witness.after_step[-1])
    assert_close(copied(classifier), witness.after_step[-1])


class SaveAfterEpoch(Callback):
    def __init__(self, file: Path):
        self.file = file

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.file.exists():
            trainer.save_checkpoint(self.file)


def test_a_checkpoint_holds_the_average_and_a_run_resumes_from_it(tmp_path: Path) -> None:
    file = tmp_path / "first.ckpt"
    averaging, witness, classifier = AveragedWeights(0.9, 4), Witness(), make_classifier()
    trainer = make_trainer(tmp_path, [averaging, witness, SaveAfterEpoch(file)], epochs=2)
    trainer.fit(classifier, make_loader(), make_loader(2))
    checkpoint = torch.load(file, weights_only=True)
    averages = expected_averages(witness.after_step, 0.9, 4)
    assert_close(checkpoint["state_dict"], averages[STEPS_PER_EPOCH - 1])
    assert_close(checkpoint["current_model_state"], witness.after_step[STEPS_PER_EPOCH - 1])

    resumed, _, rest = fit(tmp_path, AveragedWeights(0.9, 4), epochs=2, checkpoint=file)
    assert len(rest.after_step) == STEPS_PER_EPOCH
    assert_close(rest.after_step[-1], witness.after_step[-1])
    assert_close(copied(resumed), copied(classifier))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay must be at least 0 and below 1, got 1.0"),
        ({"decay": -0.1}, "decay must be at least 0 and below 1, got -0.1"),
        ({"every_n_steps": 0}, "every_n_steps must be 1 or more, got 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=f"^averaging.{message}$"):
        build({"_target_": "cnnlab.training.averaging.AveragedWeights", **options}, "averaging")
