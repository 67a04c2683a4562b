"""Invented runs, compared."""

import numpy as np
import pytest

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.spec import ComparisonSpec
from cnnlab.runs.reading import find_runs, read_run


@pytest.fixture(scope="package")
def record(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for model, accuracy in (("good", 0.92), ("poor", 0.84)):
        for seed in range(2):
            make_run(folder / f"{model}{seed}", model, seed, accuracy)
    make_run(folder / "tricky", "</script><b>|net", 0, 0.7)
    make_run(folder / "failed", "good", 9, status="failed", error="RuntimeError: *no* <memory>")
    (make_run(folder / "torn", "good", 3) / "predictions.npz").write_bytes(b"PK")
    return compare_runs(
        [read_run(path) for path in find_runs([str(folder)])], ComparisonSpec(targets=[0.8, 0.99], plan=0.5)
    )


@pytest.fixture
def pixels():
    """Stands in for reading images: the n-th is filled with the number n."""

    def read(images):
        numbers = np.arange(len(images), dtype=np.uint8)[:, None, None, None]
        return np.zeros((len(images), 32, 32, 3), dtype=np.uint8) + numbers

    return read
