"""Find labels that are probably wrong, by confident learning.

Written out here, after Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels". It is ten lines; the package `cleanlab` takes seconds to import. A test holds these lines against its results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlab.auditing.survey import Survey
from cnnlab.errors import RequestError

FILES = {"held_out.npz": "train", "predictions.npz": "test"}  # of a run: what it says of images that it did not learn


@dataclass(frozen=True)
class Suspect:
    """Hold an image whose label is probably wrong."""

    position: int
    suggested: int  # class number
    score: float  # probability of the suggested class minus that of the label, in (0, 1]


def confident_learning(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[int, int]]:
    """Return the positions of suspicious labels, and the class that each image probably belongs to.

    An image is confidently of a class if the class has at least the probability that it has on average for the images
    labelled so (equation 2 of the paper); of several such classes, it is of the most probable one. A label is
    suspicious if the image is confidently of another class: an off-diagonal entry of the confident joint (equation 1).

    Args:
        probabilities: of the classes, by networks that did not learn the image, float (N, classes).
        labels: class numbers, int64 (N,).
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=classes)
    thresholds = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)  # no image tells about a class without any
    confident = np.where(probabilities >= thresholds - 1e-6, probabilities, -1)
    guessed = confident.argmax(1)
    suspicious = (confident.max(1) >= 0) & (guessed != labels) & (probabilities.argmax(1) != labels)
    return [(int(position), int(guessed[position])) for position in suspicious.nonzero()[0]]


def find_suspects(found: Survey, runs: Sequence[Path]) -> tuple[list[Suspect], Mapping[str, int]]:
    """Return suspicious labels, the worst first, and how many images of each split were judged.

    A run judges the training images that its fold held out, and the test images. The probabilities of several runs for
    one image are averaged.

    Raises:
        RequestError: if a run was made with other images, or if none judges any.
    """
    trained = len(found.data.train)
    total = np.zeros((len(found), len(found.data.classes)))
    judges = np.zeros(len(found), int)
    for run in runs:
        for name, split in FILES.items():
            if (run / name).exists():
                logits, labels, places = _read_outputs(run / name, trained if split == "test" else 0)
                fits = logits.shape == (len(places), total.shape[1]) and (places < len(found)).all()
                if not fits or not np.array_equal(found.labels[places], labels):
                    raise RequestError(f"checkpoint: {run} was made with other {split} images, or these have changed")
                shifted = np.exp(logits - logits.max(1, keepdims=True))
                total[places] += shifted / shifted.sum(1, keepdims=True)
                judges[places] += 1
    suspects, judged = [], {}
    for split, of_split in (("train", np.arange(len(found)) < trained), ("test", np.arange(len(found)) >= trained)):
        places = (of_split & (judges > 0)).nonzero()[0]
        judged[split] = len(places)
        probabilities, labels = total[places] / np.maximum(judges[places], 1)[:, None], found.labels[places]
        for position, guessed in confident_learning(probabilities, labels):
            lead = probabilities[position, guessed] - probabilities[position, labels[position]]
            suspects.append(Suspect(int(places[position]), guessed, float(lead)))
    return sorted(suspects, key=lambda suspect: -suspect.score), judged


def _read_outputs(file: Path, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, labels, and the positions of the images among all."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            logits, labels = arrays["logits"].astype(np.float64), arrays["labels"].astype(np.int64)
            places = arrays["positions"].astype(np.int64) if "positions" in arrays else np.arange(len(labels))
        if logits.ndim != 2 or not len(logits) == len(labels) == len(places) or not np.isfinite(logits).all():
            raise ValueError("its arrays do not fit together")
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"checkpoint: {file} is damaged ({error})") from None
    return logits, labels, places + start
