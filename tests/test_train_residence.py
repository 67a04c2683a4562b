"""Test `cnnlab train`: images on the device, on the host and on disk give the same run."""

import numpy as np
import pytest

from tests.helpers import TINY, metrics, same_weights, stop_when_asked, summary

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("residence", "fixture"),
    [
        ("host", "parquet_folder"),
        ("stream", "photo_folders"),
        *(pytest.param("host", folder, marks=slow) for folder in ("class_folders", "photo_folders")),
        *(pytest.param("stream", folder, marks=slow) for folder in ("parquet_folder", "class_folders")),
    ],
)
def test_a_run_is_the_same_wherever_its_images_are(train, tmp_path, fixture, residence, request):
    data = ("data=folder", f"data.path={request.getfixturevalue(fixture)}", "data.workers=1", "data.batch_size=9")
    options = (*TINY, *data, "trainer.precision=32-true")
    assert train(*options, "data.residence=device", "hydra.run.dir=device").code == 0
    outcome = train(*options, f"data.residence={residence}", "hydra.run.dir=other")
    assert outcome.code == 0, outcome.err
    assert same_weights(tmp_path / "device", tmp_path / "other")
    assert metrics(tmp_path / "device", without="seconds") == metrics(tmp_path / "other", without="seconds")
    scored, wanted = (np.load(tmp_path / name / "predictions.npz") for name in ("other", "device"))
    assert np.array_equal(scored["logits"], wanted["logits"])
    record = summary(tmp_path / "other")
    assert record["data_fingerprint"].startswith("files-") is (residence == "stream")


def test_a_streamed_run_that_was_stopped_within_an_epoch_resumes_exactly(train, tmp_path, class_folders, monkeypatch):
    data = ("data=folder", f"data.path={class_folders}", "data.residence=stream", "data.workers=1")
    options = (*TINY, *data, "trainer.precision=32-true")
    assert train(*options, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        assert train(*options, "hydra.run.dir=parts").code == 130
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_broken_image_within_a_stream_fails_the_run_and_is_named(train, tmp_path, class_folders):
    file = class_folders / "train" / "dog" / "0065.png"
    file.write_bytes(file.read_bytes()[:100])
    data = ("data=folder", f"data.path={class_folders}", "data.residence=stream", "data.workers=1", "protocol=article")
    constants = ("data.mean=[0.5,0.5,0.5]", "data.std=[0.2,0.2,0.2]", "trainer.limit_train_batches=1.0")
    outcome = train(*TINY, *data, *constants, "hydra.run.dir=run")
    assert (outcome.code, f"images cannot be read: {file}: " in outcome.err) == (1, True)
    record = summary(tmp_path / "run")
    assert (record["status"], str(file) in record["error"]) == ("failed", True)
