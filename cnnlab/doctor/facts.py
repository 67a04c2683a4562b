"""Hold what the rules judge by: the record of a run, and what is measured when a rule first asks for it."""

import copy
import itertools
import math
import shlex
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cnnlab.doctor.findings import NotMeasured
from cnnlab.instantiate import describe_error
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.reading import Run

if TYPE_CHECKING:
    from cnnlab.data.datamodule import ImageDataModule
    from cnnlab.doctor.probes import Batches, Layer, Score, Short
    from cnnlab.inspection.activations import ActivationUse
    from cnnlab.training.classifier import Classifier

T = TypeVar("T")
LITTLE = 0.3  # training accuracy beyond chance; a network that has more learns, if slowly
IMAGES = 256  # training images on which a network is looked at


class Facts:
    """Record of a run with its probes. What cannot be had raises NotMeasured, with the reason.

    Args:
        run: the record.
        settings: its settings, as `cnnlab train` composes them; None if they are lost.
        rehearsed: whether this is a short training on a part of the data, before the real one.
    """

    def __init__(self, run: Run, settings: Mapping[str, Any] | None, rehearsed: bool = False):
        self.run, self.summary, self.rehearsed = run, run.summary, rehearsed
        self._settings = settings
        self._kept: dict[str, Any] = {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the run, with all keys of `cnnlab train`."""
        if self._settings is None:
            raise NotMeasured("the settings of the run (config.yaml) are lost")
        return self._settings

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Columns of metrics.csv, float64, a value per epoch; NaN where there is none or it was not finite."""
        return {name: np.array(values, dtype=np.float64) for name, values in self.run.curve.items()}

    def curve(self, name: str) -> np.ndarray:
        """Return a column of metrics.csv with at least one epoch."""
        values = self.curves.get(name)
        if values is None or not len(values):
            raise NotMeasured("the run has not completed an epoch")
        return values

    @property
    def diverged(self) -> bool:
        """Return whether a loss was not finite."""
        return self.summary["status"] == "diverged"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.summary["classes"] or ()) or len(self.data.classes)

    @property
    def epochs(self) -> int:
        """Number of epochs with a row in metrics.csv."""
        return len(next(iter(self.curves.values()), ()))

    @property
    def train_accuracy(self) -> float:
        """Accuracy in the last epoch with a finite loss, of augmented images in training; 0 if there is none."""
        values = self.curves.get("train/accuracy", np.array([]))
        values = values[np.isfinite(values)]
        return float(values[-1]) if len(values) else 0.0

    @property
    def at_chance(self) -> bool:
        """Return whether the training ended within 2 points of the answer that is always the same."""
        return not self.diverged and self.train_accuracy < self.chance + 0.02

    @property
    def learned_little(self) -> bool:
        """Return whether the training accuracy ended within LITTLE of chance."""
        return self.train_accuracy < self.chance + LITTLE

    @property
    def has_checkpoint(self) -> bool:
        """Return whether weights were saved."""
        directory = RunDirectory(self.run.path)
        return directory.last_checkpoint.is_file() or directory.best_checkpoint.is_file()

    @property
    def chance(self) -> float:
        """Accuracy of an answer that is always the largest class of the test images, or of any class."""
        return self.summary["test_largest_class"] or 1 / self.classes

    @cached_property
    def data(self) -> "ImageDataModule":
        """Images of the run, split and augmented as it was trained; on the CPU."""
        return self.measure("the images", self._data)

    @cached_property
    def start(self) -> "Classifier":
        """Network as it was before its first step, with its loss, optimizer and schedule. Leave it as it is."""
        return self.measure("the network at the start", self._start)

    @cached_property
    def fitted(self) -> "Classifier":
        """Network before its first step, with weights scaled to the values that they meet. Leave it as it is."""
        return self._fitted[0]

    @property
    def deviations(self) -> list[float]:
        """Deviation of the outputs of each layer before the first step; see `probes.fit_first_weights`."""
        return self._fitted[1]

    @property
    def _fitted(self) -> "tuple[Classifier, list[float]]":
        from cnnlab.doctor.probes import fit_first_weights

        return self.measure("other first weights", lambda: fit_first_weights(self.start, self.batches[0][0]))

    @cached_property
    def end(self) -> "Classifier":
        """Network as it was last saved: averaged, if the run averages weights. Leave it as it is."""
        return self.measure("the network at the end", lambda: self._loaded(averaged=True))

    @cached_property
    def trained(self) -> "Classifier":
        """Network as it was last saved, with the weights that the optimizer was at. Leave it as it is."""
        return self.measure("the network at the end, not averaged", lambda: self._loaded(averaged=False))

    @cached_property
    def batches(self) -> "Batches":
        """Normalized, augmented training images and labels, of the first steps of the run."""
        return self.measure("batches of the training images", self._batches)

    @cached_property
    def images(self) -> "Batches":
        """Normalized training images that are not augmented, with labels: up to IMAGES of them in batches."""
        return self.measure("the training images", self._images)

    @property
    def precision(self) -> str:
        """Number format of the run."""
        return self.summary["precision"] or "32-true"

    def short(self, origin: str = "start", longer: int = 1, **changes: Any) -> "Short":
        """Train shortly from the `start`, or on from what was `trained`; see `probes.train_shortly` for the changes.

        `longer` repeats the images so many times.
        """
        from cnnlab.doctor.probes import train_shortly

        trainer = self.settings["trainer"]
        options = {"precision": self.precision, "clip": trainer.get("gradient_clip_val"), **changes}
        options.setdefault("epochs", max(1, math.ceil(trainer["max_epochs"] or self.epochs)))
        name = f"a short training ({origin}, {longer}, {changes})"
        return self.measure(name, lambda: train_shortly(getattr(self, origin), [*self.batches] * longer, **options))

    def layers(self, origin: str) -> "list[Layer]":
        """Return the layers of the network at the `start` or as `trained`, with gradients of four batches."""
        from cnnlab.doctor.probes import gradients

        return self.measure(f"gradients ({origin})", lambda: gradients(getattr(self, origin), self.batches[:4]))

    def activations(self, origin: str) -> "tuple[ActivationUse, ...]":
        """Return how the activation functions are used at the `start` or at the `end`, on training images."""
        from cnnlab.inspection.activations import watch_activations

        return self.measure(
            f"activations ({origin})",
            lambda: watch_activations(getattr(self, origin).network.eval(), [images for images, _ in self.images])[0],
        )

    def score(self, origin: str, batch_statistics: bool = False) -> "Score":
        """Return loss and accuracy on training images that are not augmented; see `probes.score`."""
        from cnnlab.doctor.probes import score

        name = f"the loss on training images ({origin}, {batch_statistics})"
        return self.measure(name, lambda: score(getattr(self, origin).network, self.images, batch_statistics))

    def _data(self) -> "ImageDataModule":
        from cnnlab.build.run import build_data
        from cnnlab.runs.checkpoint import same_images

        data, recorded = build_data(self.settings), self.summary["data_fingerprint"]
        if recorded and same_images(data.fingerprint, recorded) is False:
            raise NotMeasured(f"the images are others ({data.fingerprint}) than those that were trained on")
        return data

    def _start(self) -> "Classifier":
        from cnnlab.build.network import build_network
        from cnnlab.build.run import build_classifier, initialize_from_data, seed_everything
        from cnnlab.build.weights import read_start

        data, settings = self.data, self.settings
        start = read_start(settings.get("weights"), settings["model"], data.image_size)
        seed_everything(settings["seed"])
        network = build_network(settings["model"], len(data.classes), data.image_size)
        initialize_from_data(network, data)
        if start:
            start.load(network, data.classes)
        if any("LearningRateFinder" in part["_target_"] for part in (settings["callbacks"] or {}).values()):
            settings = {**settings, "optimizer": settings["optimizer"] | {"lr": self.summary["lr"]}}
        return build_classifier(settings, network, data.class_counts)

    def _loaded(self, averaged: bool) -> "Classifier":
        from cnnlab.runs.checkpoint import network_weights, read_checkpoint

        directory = RunDirectory(self.run.path)
        files = [file for file in (directory.last_checkpoint, directory.best_checkpoint) if file.is_file()]
        if not files:
            raise NotMeasured("the run has no checkpoint")
        content, loaded = read_checkpoint(files[0], "run"), copy.deepcopy(self.start)
        if not averaged and "current_model_state" in content:
            content["state_dict"] = content["current_model_state"]
        loaded.network.load_state_dict(network_weights(content))
        return loaded.eval()

    def _batches(self) -> "Batches":
        from cnnlab.doctor.probes import short_length

        loader, taken, epoch = self.data.train_dataloader(), [], 0
        length = short_length(self.summary["macs"], self.data.batch_size)
        while len(taken) < length:
            loader.sampler.set_epoch(epoch)
            taken += itertools.islice(loader, length - len(taken))
            epoch += 1
        return taken

    def _images(self) -> "Batches":
        from cnnlab.data.normalization import Normalization

        data = self.data
        normalize = Normalization(data.mean, data.std, data.image_size)
        pieces = data.spread(IMAGES).split(128)
        return [(normalize(data.train.read(piece)), data.train.labels[piece]) for piece in pieces]

    def measure(self, name: str, probe: Callable[[], T]) -> T:
        """Return what a probe measures, once; raise NotMeasured, each time, if it fails. `name` says what it is."""
        if name not in self._kept:
            try:
                self._kept[name] = probe()
            except NotMeasured as error:
                self._kept[name] = error
            except Exception as error:  # networks, data and functions of the user may raise anything
                self._kept[name] = NotMeasured(f"{name}: {describe_error(error)}")
        if isinstance(kept := self._kept[name], NotMeasured):
            raise kept
        return kept

    def again(self, *changes: str) -> str:
        """Return the command of the run with other values, such as `optimizer.lr=0.01`."""
        keys = {change.lstrip("+~").partition("=")[0] for change in (*changes, "resume=", "name=")}
        kept = [word for word in self._command if word.lstrip("+~").partition("=")[0] not in keys]
        return shlex.join([*kept, *changes])

    def with_option(self, option: str, otherwise: str) -> str:
        """Return the command of the run with an option such as `model.normalization=batch`, if the model has it."""
        has_it = option.partition("=")[0].partition(".")[2] in self.settings["model"]
        return self.again(option if has_it else otherwise)

    @property
    def describe(self) -> str:
        """Return the command that lists the layers of the network."""
        return shlex.join(
            ["cnnlab", "describe", *(word for word in self._command if word.lstrip("+").startswith("model"))]
        )

    @property
    def _command(self) -> list[str]:
        return shlex.split(self.summary["command"] or "cnnlab train")
