"""Accuracy over the number of training images, of invented runs and of exact power laws."""

import json

import numpy as np
import pytest

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.text import render_markdown
from cnnlab.comparison.training_images import fit_power_law
from cnnlab.runs.reading import find_runs, read_run

SIZES = [100, 300, 1000, 3000, 10_000]


@pytest.mark.parametrize(("a", "b", "c"), [(4.0, 0.4, 0.0), (3.0, 0.5, 0.08), (1.5, 0.25, 0.02)])
def test_an_exact_power_law_is_found(a, b, c):
    law = fit_power_law(SIZES, [a * n**-b + c for n in SIZES])
    assert law is not None
    assert (law.a, law.b, law.c) == (
        pytest.approx(a, rel=0.02),
        pytest.approx(b, rel=0.02),
        pytest.approx(c, abs=0.002),
    )
    accuracy, low, high = law.accuracy(20_000)
    assert accuracy == pytest.approx(1 - (a * 20_000**-b + c), abs=0.002)
    assert low is not None and high is not None and low <= accuracy <= high


def test_few_sizes_have_no_limit_and_two_no_curve():
    law = fit_power_law([10, 100, 1000], [0.5, 0.3, 0.25])
    assert law is not None and law.c == 0
    assert fit_power_law([10, 10, 100], [0.5, 0.4, 0.3]) is None
    perfect = fit_power_law(SIZES, [0.0] * 5)
    assert perfect is not None and perfect.accuracy(1000)[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("sizes", "limit"), [(SIZES[:3], 0.0), (SIZES, 0.05)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(sizes, limit):
    random, inside, trials = np.random.default_rng(0), 0, 60
    truth = 1 - (3 * 20_000**-0.4 + limit)
    for _ in range(trials):
        images = sizes * 3
        law = fit_power_law(images, [(3 * n**-0.4 + limit) * np.exp(random.normal(0, 0.05)) for n in images])
        assert law is not None
        _, low, high = law.accuracy(20_000)
        assert low is not None and high is not None
        inside += low <= truth <= high
    assert inside >= 53


@pytest.fixture
def fractions(make_run, tmp_path):
    """Returns the comparison of runs with five numbers of training images, two seeds each."""
    for n in SIZES:
        for seed in range(2):
            data = {"source": "x", "image_size": 32, "classes": None, "fraction": n / 10_000 if n < 10_000 else 1}
            error = 2 * n**-0.3 * (1 + 0.02 * seed)
            path = tmp_path / f"{n}_{seed}"
            file = make_run(path, "lenet5", seed, 0.5, 100, config={"data": data}) / "summary.json"
            (path / "predictions.npz").unlink()  # they have another accuracy
            file.write_text(
                json.dumps(json.loads(file.read_text()) | {"images": {"train": n}, "test_accuracy": 1 - error})
            )
    return compare_runs([read_run(path) for path in find_runs([str(tmp_path)])])


def test_groups_of_several_fractions_have_a_curve(fractions, tmp_path):
    (section,) = fractions.sections
    assert len(section.groups) == 5
    (curve,) = section.by_images
    assert (curve.label, len(curve.images)) == ("lenet5", 10)
    truth = 1 - 2.02 * 20_000**-0.3
    images, accuracy, low, high = curve.twice
    assert (images, accuracy) == (20_000, pytest.approx(truth, abs=0.003)) and low < truth < high
    assert curve.foretold[1] == pytest.approx(1 - 2.02 * 10_000**-0.3, abs=0.005)
    assert "lenet5: error = 2.0" in curve.sentence and "20,000 would give 89." in curve.sentence
    assert "Without the largest size: 10,000 would give 87." in curve.sentence and "measured: 87." in curve.sentence
    assert curve.sentence in render_markdown(fractions)
