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
    figure = draw_confusion_matrix(counts, names)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    texts = [text.get_text() for text in axes.texts]
    assert texts == ([] if classes == 100 else ["7", *(f"{n * 1000:,}" for n in range(1, classes))])
    shares: Any = axes.images[0].get_array()
    assert shares[1].max() == pytest.approx(1000 / 1007)
    figure.savefig(tmp_path / "matrix.png")
    assert imread(tmp_path / "matrix.png").std() > 0.05
