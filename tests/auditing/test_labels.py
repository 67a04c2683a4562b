"""Test that labels are judged as the paper and its authors' package judge them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab.auditing.labels import confident_learning, find_suspects
from cnnlab.auditing.survey import survey
from cnnlab.data.images import streamed_images
from cnnlab.data.sources import find_source
from cnnlab.data.splits import held_out_positions
from cnnlab.errors import RequestError


def wrong_labels(seed: int, images: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, and labels of which an eighth is wrong."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, images)
    logits = random.normal(0, 1, (images, classes))
    logits[np.arange(images), true] += sharpness
    labels, bad = true.copy(), random.permutation(images)[: images // 8]
    labels[bad] = (true[bad] + random.integers(1, classes, len(bad))) % classes
    return torch.from_numpy(logits).softmax(1).numpy(), labels


def test_the_same_labels_are_suspicious_as_for_cleanlab():
    """The list is that of cleanlab 2.9: `find_label_issues(labels, p, filter_by="confident_learning")`."""
    found = confident_learning(*wrong_labels(0, 60, 4, 2.0))
    assert [position for position, _ in found] == [11, 14, 16, 21, 39, 40, 45, 47, 52, 54, 57]


def test_a_sure_network_finds_the_wrong_labels_and_no_others():
    probabilities, labels = np.eye(3)[[0, 0, 1, 1, 2, 2]] * 0.9 + 1 / 30, np.array([0, 0, 1, 1, 2, 1])
    assert confident_learning(probabilities, labels) == [(5, 2)]


def test_a_class_without_images_is_never_suggested():
    probabilities = np.array([[0.1, 0.1, 0.8], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    assert confident_learning(probabilities, np.array([0, 0, 1])) == []


@pytest.fixture
def fold_runs(class_folders, tmp_path) -> list[Path]:
    """What folds=3 leaves of networks that are always right, except that image 4 looks like class 7 to them."""
    data = streamed_images(find_source(None, class_folders), 32)
    shown = data.train.labels.clone()
    shown[4] = 7
    runs = []
    for fold in (1, 2, 3):
        runs.append(tmp_path / f"fold-{fold}")
        runs[-1].mkdir()
        places = held_out_positions(data.train.labels, fold, 3)
        arrays = {"logits": 5 * np.eye(10)[shown[places]], "labels": data.train.labels[places].numpy()}
        np.savez(runs[-1] / "held_out.npz", positions=places.numpy(), **arrays)
        np.savez(runs[-1] / "predictions.npz", logits=5 * np.eye(10)[data.test.labels], labels=data.test.labels.numpy())
    return runs


def test_each_image_is_judged_by_the_run_that_held_it_out(class_folders, fold_runs):
    found = survey(streamed_images(find_source(None, class_folders), 32))
    suspects, judged = find_suspects(found, fold_runs)
    assert [(suspect.position, suspect.suggested) for suspect in suspects] == [(4, 7)]
    assert judged == {"train": 120, "test": 30}
    assert find_suspects(found, fold_runs[:1])[1] == {"train": 40, "test": 30}


def test_runs_of_other_images_are_refused(class_folders, fold_runs):
    (class_folders / "train" / "airplane" / "0000.png").unlink()
    found = survey(streamed_images(find_source(None, class_folders), 32))
    with pytest.raises(RequestError, match="checkpoint: .*fold-1 was made with other train images"):
        find_suspects(found, fold_runs)
    (fold_runs[0] / "held_out.npz").write_bytes(b"PK")
    with pytest.raises(RequestError, match="held_out.npz is damaged"):
        find_suspects(found, fold_runs)
