from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from cnnlab.inference.evaluation_report import draw_mistakes, draw_reliability, print_evaluation
from cnnlab.inference.metrics import Scores, score


def scores_of(classes: int, images: int = 200) -> Scores:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 3
    return score(logits, labels, tuple(f"kind{number}" for number in range(classes)))


def record(**changed: Any) -> dict[str, Any]:
    known = {
        "model": "lenet5",
        "images": 200,
        "split": "val",
        "data": "digits",
        "data_fingerprint": "0123456789abcdef",
        "training_fingerprint": "fedcba9876543210",
        "same_data": True,
        "tta": None,
        "shift": None,
        "members": None,
        "calibrated": None,
        "corruptions": None,
        "attack": None,
        "images_per_second": 12345.6,
        "precision": "32-true",
        "device": "cpu: Processor, 2 threads",
        "seconds": {"imports": 2.0, "network": 0.5, "total": 3.0},
    }
    return known | changed


def printed(capsys: pytest.CaptureFixture[str], scores: Scores, augmented: Scores | None = None, **changed: Any) -> str:
    print_evaluation(record(**changed), scores, augmented, Path("evaluation"))
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_the_table_shows_the_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of(7)
    text = printed(capsys, scores)
    interval = scores.accuracy_interval
    assert f"{scores.accuracy:.2%} (95% interval {interval.low:.2%} to {interval.high:.2%}, Wilson)" in text
    for part in ("lenet5 on 200 val images", "top-5", "12,346 images/s", "total 3.0", "digits (0123456789abcdef)"):
        assert part in text
    for row in scores.per_class:
        assert f"{row.name} {row.precision:.2%} {row.recall:.2%} {row.f1:.2%} {row.support}" in text
    assert "trained on" not in text
    assert "most frequent confusions" in text and "(true -> predicted)" in text and " -> kind" in text
    assert "tta" not in text


def test_augmented_metrics_are_shown_beside_the_plain_ones(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, scores_of(3), scores_of(3, images=50), tta={"views": "flip"})
    assert f"{scores_of(3).accuracy:.2%}" in text
    assert f"with tta=flip {scores_of(3, images=50).accuracy:.2%}" in text


def test_other_data_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert "trained on other data (fedcba9876543210)" in printed(capsys, scores_of(3), same_data=False)
    assert "trained on possibly other data" in printed(capsys, scores_of(3), same_data=None)


def test_only_the_worst_of_many_classes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of(30)
    text = printed(capsys, scores)
    ranked = sorted(scores.per_class, key=lambda row: row.f1 or 0)
    assert f"{ranked[0].name} " in text
    assert f"{ranked[-1].name} " not in text
    assert "lowest F1 of 30" in text


def test_undefined_scores_are_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(torch.tensor([[2.0, 0, 0], [0, 0, 1]]), torch.tensor([0, 0]), ("a", "b", "c"))
    assert "b - - - 0" in printed(capsys, scores)


def test_the_reliability_diagram_has_a_bar_for_every_bin_with_enough_images() -> None:
    scores = scores_of(4)
    figure = draw_reliability(scores, "net on the test images")
    above, below = ([patch.get_window_extent().height for patch in axes.patches] for axes in figure.axes)
    bins = scores.calibration.bins
    accuracies = [part.accuracy for part in bins if part.accuracy is not None and part.images >= 10]
    few = sum(0 < part.images < 10 for part in bins)
    assert few and len(above) == len(accuracies) > 1
    assert np.array(above) / max(above) == pytest.approx(np.array(accuracies) / max(accuracies))
    assert np.array(below) / sum(below) == pytest.approx(np.array([part.images for part in bins]) / 200)
    assert f"{scores.calibration.error:.4f}" in figure.axes[1].get_xlabel()
    lack = scores.accuracy - scores.calibration.confidence
    verdict = f"too cautious by {100 * lack:.1f} percentage points"
    assert " ".join(figure.get_suptitle().split()) == f"net on the test images: {verdict}"
    explanation = " ".join(figure.axes[0].get_title("left").split())
    assert f"{few} bins with fewer than 10 images are not drawn" in explanation


@pytest.mark.parametrize("mistakes", [0, 3])
def test_mistakes_are_drawn(tmp_path: Path, mistakes: int) -> None:
    logits = torch.tensor([[0.0, 3.0]]).repeat(5, 1)
    labels = torch.tensor([0] * mistakes + [1] * (5 - mistakes))
    pixels = torch.full((5, 8, 8, 3), 200, dtype=torch.uint8)
    draw_mistakes(logits, labels, ["cat", "dog"], pixels.__getitem__, tmp_path / "mistakes.png", "net")
    assert imread(tmp_path / "mistakes.png").ndim == 3
