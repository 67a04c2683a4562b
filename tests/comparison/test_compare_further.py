"""What a comparison shows of several networks together, and of corrupted images."""

import json

import numpy as np
import pytest

from cnnlab.comparison.compare import compare_runs
from cnnlab.runs.reading import read_run


def test_what_all_runs_are_worth_together(make_run, tmp_path):
    """Three networks that are each wrong about another third of the images are right about all of them together."""
    labels = np.arange(30) % 3
    for seed in range(3):
        run = make_run(tmp_path / str(seed), "lenet5", seed, 2 / 3, 30, test_accuracy=2 / 3)
        logits = 2.0 * np.eye(3)[labels]
        logits[seed * 10 : seed * 10 + 10] = 2.5 * np.eye(3)[(labels + 1) % 3][seed * 10 : seed * 10 + 10]
        np.savez(run / "predictions.npz", logits=logits.astype(np.float32), labels=labels)
    found = [read_run(tmp_path / str(seed)) for seed in range(3)]
    assert [run.problems for run in found] == [()] * 3
    assert compare_runs(found).sections[0].groups[0].together == 1
    assert compare_runs(found[:1]).sections[0].groups[0].together is None


def test_accuracy_on_corrupted_images_needs_all_runs(make_run, tmp_path):
    runs = [make_run(tmp_path / str(seed), "lenet5", seed, 0.8, 100) for seed in range(2)]

    def evaluated(run, content):
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / "checkpoints" / "best.ckpt").touch()
        (run / "evaluation").mkdir(exist_ok=True)
        (run / "evaluation" / "evaluation.json").write_text(json.dumps(content))

    def corrupted():
        return compare_runs([read_run(run) for run in runs]).sections[0].groups[0].corrupted

    evaluated(runs[0], {"corruptions": {"mean": 0.5}})
    assert corrupted() is None
    for damaged in ({"corruptions": None}, {"corruptions": {"mean": "0.5"}}, []):
        evaluated(runs[1], damaged)
        assert corrupted() is None
    evaluated(runs[1], {"corruptions": {"mean": 0.4}})
    assert corrupted() == pytest.approx(0.45)
