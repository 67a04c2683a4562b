"""Ask the trained network, and a simple classifier of pixels, what they say of images."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.doctor.findings import NotMeasured
from cnnlab.files import from_here
from cnnlab.runs.directory import RunDirectory

if TYPE_CHECKING:
    from cnnlab.data.images import Images
    from cnnlab.doctor.facts import Facts

Change = Callable[[Tensor], Tensor]  # of pixels (N, H, W, 3)
ASKED = 1000  # images of a split that a network is asked about, spread evenly
MULTIPLICATIONS = 2e11  # of the forward passes for them: some seconds of a processor core
LEARNED = 5000  # images of a split that the simple classifier learns or judges, spread evenly
SIDE = 8  # to which it makes images smaller: edges that are a pixel away look the same
SIMPLE = "a simple classifier of pixels, which learned the training images"
RIDGE = 0.01  # of its squared weights, as a share of the mean variance of its inputs


@dataclass(frozen=True)
class Answers:
    """What a network says of some images."""

    logits: Tensor  # float32 (N, classes)
    labels: Tensor  # class numbers, int64 (N,)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Tensor:
        """Return the class that it gives each image, int64 (N,)."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """Return the share of right answers."""
        return float((self.classes == self.labels).float().mean())

    @property
    def far_off(self) -> float:
        """Return how improbable the labels of wrongly answered images are for the network: 0 second choice, 1 last one.

        Labels at random have a mean of 0.5. A network that confuses classes still finds the right one probable.
        """
        own = self.logits.gather(1, self.labels[:, None])
        better = (self.logits > own).sum(1)
        wrong = better[better > 0]
        return float((wrong - 1).float().mean()) / max(1, self.logits.shape[1] - 2) if len(wrong) else 0.0

    def confusion(self) -> np.ndarray:
        """Return how many images of each class get which answer, int64 (classes, classes)."""
        count = self.logits.shape[1]
        return (self.labels * count + self.classes).bincount(minlength=count * count).view(count, count).numpy()


def answers(facts: "Facts", split: Literal["train", "val", "test"]) -> Answers:
    """Return what the network of a run says of images that are not augmented."""
    return facts.measure(f"the network's answers ({split})", lambda: _answers(facts, split))


def _answers(facts: "Facts", split: Literal["train", "val", "test"]) -> Answers:
    stored = RunDirectory(facts.run.path).predictions_file
    if split == "test" and stored.is_file() and facts.summary["status"] == "completed":
        with np.load(stored) as arrays:
            return Answers(torch.from_numpy(arrays["logits"]).float(), torch.from_numpy(arrays["labels"]).long())
    from cnnlab.data.normalization import Normalization

    data = facts.data
    images: Images = getattr(data, split)
    if not len(images):
        raise NotMeasured(f"there are no {split} images")
    asked = min(ASKED, max(128, int(MULTIPLICATIONS / (facts.summary["macs"] or 1e7))))
    places = _spread(len(images), asked)
    normalize, network = Normalization(data.mean, data.std, data.image_size), facts.end.network
    with torch.no_grad():
        logits = torch.cat([network(normalize(images.read(part))).float() for part in places.split(128)])
    if not logits.isfinite().all():
        raise NotMeasured("the network's outputs are not finite")
    return Answers(logits, images.labels[places])


def _spread(count: int, most: int) -> Tensor:
    """Return at most so many positions of all, spread evenly."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()


@dataclass(frozen=True)
class PixelClassifier:
    """Tell classes by a weighted sum of the pixels of small images: a linear classifier, by least squares.

    It needs no training, no learning rate and no network, so it says what can be seen in images and labels alone.
    """

    weights: Tensor  # float64 (SIDE * SIDE * 3 + 1, classes)
    left_out: Answers  # for the images that it learned: what it would say of each if it had learned only the others

    @classmethod
    def fit(cls, inputs: Tensor, labels: Tensor, classes: int) -> "PixelClassifier":
        """Learn small images, float64 (N, SIDE * SIDE * 3 + 1), and class numbers, int64 (N,)."""
        targets = nn.functional.one_hot(labels, classes).double()
        gram = inputs.T @ inputs
        gram += torch.eye(len(gram)) * RIDGE * gram.diagonal().mean()
        weights = torch.linalg.solve(gram, inputs.T @ targets)
        # What an image adds to its own scores is known exactly (Hastie et al. 2009, section 7.10, equation 7.52).
        own = (inputs * torch.linalg.solve(gram, inputs.T).T).sum(1, keepdim=True)
        left_out = (inputs @ weights - own * targets) / (1 - own)
        return cls(weights, Answers(left_out.float(), labels))

    def scores(self, inputs: Tensor) -> Tensor:
        """Return how much speaks for each class, float32 (N, classes)."""
        return (inputs @ self.weights).float()


def _small(pixels: Tensor) -> Tensor:
    """Return pixels, uint8 (N, H, W, 3), as inputs of the simple classifier: small images and a one."""
    small = nn.functional.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float() / 255 - 0.5, SIDE).flatten(1)
    return torch.cat([small, torch.ones(len(small), 1)], 1).double()


def _small_images(images: "Images") -> tuple[Tensor, Tensor]:
    """Return the inputs and class numbers of at most `LEARNED` images of a split; a few are read at a time."""
    places = _spread(len(images), LEARNED)
    return torch.cat([_small(images.read(part)) for part in places.split(500)]), images.labels[places]


def pixel_classifier(facts: "Facts") -> PixelClassifier:
    """Return a simple classifier that has learned training images of a run."""

    def learned() -> PixelClassifier:
        return PixelClassifier.fit(*_small_images(facts.data.train), len(facts.data.classes))

    return facts.measure("a simple classifier", learned)


def seen(facts: "Facts", split: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
    """Return pixels, uint8 (N, H, W, 3), and class numbers, int64 (N,), of at most `ASKED` images of a split."""

    def read() -> tuple[Tensor, Tensor]:
        images: Images = getattr(facts.data, split)
        places = _spread(len(images), ASKED)
        return images.read(places), images.labels[places]

    return facts.measure(f"the {split} images", read)


def guesses(facts: "Facts", split: Literal["train", "val", "test"]) -> Answers:
    """Return what the simple classifier says of images of a split; of a training image, what it says without it."""
    simple = pixel_classifier(facts)
    if split == "train":
        return simple.left_out

    def guess() -> Answers:
        inputs, labels = _small_images(getattr(facts.data, split))
        return Answers(simple.scores(inputs), labels)

    return facts.measure(f"the simple classifier's answers ({split})", guess)


def guesses_if_changed(facts: "Facts", change: Change) -> Answers:
    """Return what the simple classifier says of validation images that are changed before."""
    pixels, labels = seen(facts, "val")
    return Answers(pixel_classifier(facts).scores(_small(change(pixels))), labels)


def audit_command(facts: "Facts") -> str:
    """Return the command that shows duplicates, odd images and suspicious labels of the data."""
    path, source = facts.settings["data"].get("path"), facts.settings["data"].get("source")
    if path:
        return shlex.join(["cnnlab", "audit", "data=folder", f"data.path={from_here(Path(path))}"])
    return shlex.join(["cnnlab", "audit", f"data={source}" if source == "digits" else "data=cifar10"])
