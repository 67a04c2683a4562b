"""Measure the overhead of Lightning: an epoch of cnnlab's training steps and the same steps in a plain loop.

    python experiments/speed/overhead.py --path FOLDER

Both sides use the same batches and the recipe `fast`: network, loss, optimizer, schedule, precision, gradient clipping
and averaged weights. Both add up loss and correct predictions in tensors. cnnlab's side is what `cnnlab train` runs:
its Trainer, Progress, AveragedWeights and Recorder. Each measurement trains two epochs without validation and times the
second. The sides take turns; a ratio compares two consecutive measurements.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import argparse
import gc
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from cnnlab.cpu import keep_freed_memory
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.instantiate import build
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.environment import device_name
from cnnlab.runs.recorder import Recorder
from cnnlab.training.classifier import Classifier
from cnnlab.training.optimizers import parameter_groups
from cnnlab.training.precision import auto_precision
from cnnlab.training.progress import Progress
from cnnlab.training.trainer import build_trainer

CONF = Path(__file__).parents[2] / "conf"
EPOCHS = 2  # the first warms up


@dataclass(frozen=True)
class Setting:
    """Settings of the training on both sides.

    Attributes:
        model: configuration of the network.
        recipe: configuration of the training.
        data: the images.
        precision: `32-true` or `bf16-mixed`.
        steps: number of steps in an epoch.
        plain: whether the weights are not averaged.
    """

    model: dict[str, Any]
    recipe: dict[str, Any]
    data: ImageDataModule
    precision: str
    steps: int
    plain: bool

    def network(self) -> nn.Module:
        """Return a new network, always with the same weights."""
        torch.manual_seed(0)
        network = build(self.model, "model", in_channels=3, num_classes=len(self.data.classes))
        return network.to(memory_format=torch.channels_last)

    def part(self, key: str) -> Any:
        """Build a part of the recipe."""
        return build(self.recipe[key], key)


@dataclass(frozen=True)
class Epoch:
    """Seconds of the last epoch of one side, and its mean training loss."""

    seconds: float
    loss: float


class TimedRecorder(Recorder):
    """cnnlab's recorder, whose `stepping_seconds` are those of the latest epoch alone."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the seconds of a new epoch."""
        self.stepping_seconds = 0.0
        super().on_train_epoch_start(trainer, pl_module)


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    keep_freed_memory()  # for both sides
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    software = f"torch {torch.__version__}; lightning {L.__version__}"
    print(f"{device_name(torch.device('cpu'))}; {os.cpu_count()} cores; {software}")
    averaged = "without" if arguments.plain else "with"
    print(f"{arguments.model}, {arguments.precision}, {averaged} averaged weights, rounds: {arguments.rounds}\n")
    print(
        f"{'batch':>6}{'steps':>7}{'by hand s':>11}{'cnnlab s':>10}{'more us/step':>14}{'ratio':>8}{'min':>7}{'max':>7}"
    )
    for batch_size in arguments.batch_sizes:
        setting = make_setting(arguments, batch_size)
        pairs = [(by_hand(setting), by_cnnlab(setting)) for _ in range(arguments.rounds)]
        print_row(batch_size, setting.steps, pairs)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder or file with CIFAR-10 (data.path)")
    parser.add_argument("--model", default="lenet5", help="a name in conf/model")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[512, 64])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    parser.add_argument("--limit", type=int, help="steps per epoch; by default all images")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default=auto_precision("cpu"))
    parser.add_argument("--threads", type=int, help="number of threads of torch; by default its own choice")
    parser.add_argument("--plain", action="store_true", help="without averaged weights, on both sides")
    return parser.parse_args()


def make_setting(arguments: argparse.Namespace, batch_size: int) -> Setting:
    """Make the parts that both sides share."""
    recipe = yaml.safe_load((CONF / "recipe" / "fast.yaml").read_text())
    augmentation = build(recipe["augmentation"], "augmentation")
    data = ImageDataModule(path=arguments.path, batch_size=batch_size, augmentation=augmentation)
    steps = len(data.train_dataloader())
    return Setting(
        model=yaml.safe_load((CONF / "model" / f"{arguments.model}.yaml").read_text()),
        recipe=recipe,
        data=data,
        precision=arguments.precision,
        steps=min(steps, arguments.limit or steps),
        plain=arguments.plain,
    )


def by_cnnlab(setting: Setting) -> Epoch:
    """Time the last epoch of cnnlab, with the same parts as `cnnlab train`."""
    gc.collect()
    parts = {key: setting.part(key) for key in ("optimizer", "schedule", "loss")}
    decay_all = setting.recipe["decay_norms_and_biases"]
    classifier = Classifier(setting.network(), **parts, decay_norms_and_biases=decay_all)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        recorder = TimedRecorder(run, {}, lambda: False)
        averaging = [] if setting.plain else [setting.part("averaging")]
        callbacks = [Progress(bar=False), *averaging, recorder]
        trainer = build_trainer(trainer_options(setting), callbacks, [], run.path)
        trainer.fit(classifier, datamodule=setting.data)
    return Epoch(recorder.stepping_seconds, classifier.train_totals.means()[0])


def trainer_options(setting: Setting) -> dict[str, Any]:
    """Return the options of `conf/trainer/cpu.yaml`, without validation."""
    options = {"accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0, "benchmark": True}
    limits = {"max_epochs": EPOCHS, "limit_train_batches": setting.steps, "limit_val_batches": 0}
    clip = setting.recipe["trainer"]["gradient_clip_val"]
    return {**options, **limits, "precision": setting.precision, "gradient_clip_val": clip}


def by_hand(setting: Setting) -> Epoch:
    """Time the last epoch of a plain loop."""
    gc.collect()
    network = setting.network().train()
    optimizer = setting.part("optimizer")(parameter_groups(network, setting.recipe["decay_norms_and_biases"]))
    schedule = setting.part("schedule")(optimizer, EPOCHS * setting.steps)
    criterion = setting.part("loss")
    every, largest = setting.recipe["averaging"]["every_n_steps"], setting.recipe["trainer"]["gradient_clip_val"]
    weights = [value for value in network.state_dict().values() if value.is_floating_point()]
    average = None if setting.plain else [value.clone() for value in weights]
    share = 1 - setting.recipe["averaging"]["decay"] ** every
    loader = setting.data.train_dataloader()
    step, timed = 0, Epoch(0.0, 0.0)
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        started = time.perf_counter()
        total_loss, correct, images = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
        for pictures, labels in itertools.islice(loader, setting.steps):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=setting.precision == "bf16-mixed"):
                logits: Tensor = network(pictures)
                loss: Tensor = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), largest)
            optimizer.step()
            schedule.step()
            step += 1
            if average is not None and step % every == 0:
                torch._foreach_lerp_(average, weights, share)  # pyright: ignore[reportPrivateImportUsage]
            total_loss += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            images += len(labels)
        timed = Epoch(time.perf_counter() - started, float(total_loss) / images)
    return timed


def print_row(batch_size: int, steps: int, pairs: list[tuple[Epoch, Epoch]]) -> None:
    """Print a line for one batch size; both sides must have learned the same."""
    for hand, cnnlab in pairs:
        assert abs(hand.loss - cnnlab.loss) < 0.02 * hand.loss, f"not the same training: {hand.loss}, {cnnlab.loss}"
    hand, cnnlab = (statistics.median(epoch.seconds for epoch in side) for side in zip(*pairs, strict=True))
    ratios = [cnnlab.seconds / hand.seconds for hand, cnnlab in pairs]
    print(
        f"{batch_size:>6}{steps:>7}{hand:>11.3f}{cnnlab:>10.3f}{(cnnlab - hand) / steps * 1e6:>14.0f}"
        f"{statistics.median(ratios):>8.3f}{min(ratios):>7.3f}{max(ratios):>7.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
