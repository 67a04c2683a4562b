import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from cnnlab.inference.classify import Neighbour, Prediction
from cnnlab.inference.prediction_files import PredictionSummary, prediction_writer, print_predictions

TOP = [("cat", 0.75), ("dog, small", 0.25)]
NEAR = [Neighbour(7, "cat", 0.125), Neighbour(0, "dog", 1.5)]
PREDICTIONS = [Prediction("a,b.png", TOP, "cat", NEAR), Prediction('"\n\udcff.png', TOP, "dog", NEAR)]


def test_a_csv_file_has_a_row_for_each_image(tmp_path: Path) -> None:
    with prediction_writer(tmp_path / "p.csv", top=2, labelled=True, neighbours=2) as write:
        for prediction in PREDICTIONS:
            write(prediction)
        assert not (tmp_path / "p.csv").exists()  # until all are there
    text = (tmp_path / "p.csv").read_bytes().decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows[0] == {
        "image": "a,b.png",
        "class": "cat",
        "confidence": "0.750000",
        "class_2": "dog, small",
        "confidence_2": "0.250000",
        "label": "cat",
        "neighbour_1": "train/7",
        "neighbour_1_class": "cat",
        "neighbour_1_distance": "0.125000",
        "neighbour_2": "train/0",
        "neighbour_2_class": "dog",
        "neighbour_2_distance": "1.500000",
    }
    assert rows[1]["image"] == '"\n\udcff.png'
    assert len(rows) == 2


def test_json_lines_hold_an_object_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (tmp_path / "p.jsonl", None):
        with prediction_writer(output, top=2, labelled=True, neighbours=2) as write:
            for prediction in (*PREDICTIONS, Prediction("c", TOP)):
                write(prediction)
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    records = [json.loads(line) for line in lines]
    assert records[1]["image"] == '"\n\udcff.png'
    assert records[0]["neighbours"][0] == {"image": "train/7", "class": "cat", "distance": 0.125}
    assert records[2] == {
        "image": "c",
        "class": "cat",
        "confidence": 0.75,
        "top": [{"class": "cat", "confidence": 0.75}, {"class": "dog, small", "confidence": 0.25}],
    }


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("earlier")
    with (
        pytest.raises(KeyboardInterrupt),
        prediction_writer(tmp_path / "p.csv", top=2, labelled=False, neighbours=0) as write,
    ):
        write(PREDICTIONS[0])
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("p.csv", "earlier")]


def test_a_closed_pipe_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    failure = None
    try:
        with os.fdopen(writing_end, "w") as pipe:
            monkeypatch.setattr(sys, "stdout", pipe)
            with prediction_writer(None, top=2, labelled=False, neighbours=0) as write:
                for _ in range(1000):
                    write(PREDICTIONS[0])
    except OSError as error:
        failure = error
    assert failure is None


def test_the_terminal_shows_the_first_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(PredictionSummary(done=1002, first=[(prediction, None) for prediction in PREDICTIONS]))
    printed = capsys.readouterr().out
    for text in ("a,b.png", "75.0% cat", "25.0% dog, small", "(wrong)", "... and 1,000 more"):
        assert text in printed
    print_predictions(PredictionSummary(done=1, first=[(Prediction("c", TOP), None)]))
    assert "label" not in capsys.readouterr().out
