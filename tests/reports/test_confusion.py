from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from cnnlab.reports.confusion import draw_confusion_matrix


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    names = [f"kind{number}" for number in range(classes)]
    counts = np.diag(np.arange(classes) * 1000)  # the first class is not there
    counts[1, 0] = 7
    figure = draw_confusion_matrix(counts, names, "net on the test images")
    title = " ".join(figure.get_suptitle().split())
    right, total = int(counts.trace()), int(counts.sum())
    assert title == f"net on the test images: {100 * right / total:.2f} % of {total:,} images recognized"
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    texts = [text.get_text() for text in axes.texts]
    rates = {1: ["7", "0.7 %", "1,000", "99.3 %"]}
    shown = [rates.get(n, [f"{n * 1000:,}", "100.0 %"]) for n in range(1, classes)]
    assert texts == ([] if classes == 100 else [text for cell in shown for text in cell])
    shares: Any = axes.images[0].get_array()
    assert shares[1].max() == pytest.approx(1000 / 1007)
    none, harmless, every = axes.images[0].to_rgba(np.array([[0.0, 0.002, 1.0]]))[0]
    assert np.abs(harmless - none).max() < 0.01 < 0.3 < np.abs(every - none).max()  # 0.2 % looks harmless
    figure.savefig(tmp_path / "matrix.png")
    assert imread(tmp_path / "matrix.png").std() > 0.05
