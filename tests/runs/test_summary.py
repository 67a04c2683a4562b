"""Tell possible values of a record from impossible ones."""

import json
from pathlib import Path

import pytest

from cnnlab.runs.summary import read_record

RECORD = Path(__file__).parents[1] / "records_of_before" / "run" / "summary.json"


def read(tmp_path: Path, text: str | bytes) -> tuple[dict | None, list[str]]:
    file = tmp_path / "summary.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_record(file)


def test_a_sound_record_has_no_problems():
    record, problems = read_record(RECORD)
    assert problems == []
    assert record == json.loads(RECORD.read_text()) | {"device": "cpu: AMD EPYC, 1 thread"}


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("status", "finished", "one of running, completed, failed"),
        ("protocol", {"a": 1}, "one of holdout, article"),
        ("model", 3, "a text"),
        ("test_accuracy", 7.3, "from 0 to 1"),
        ("test_accuracy", True, "a number"),
        ("val_accuracy", "0.5", "a number"),
        ("val_loss", float("nan"), "between -1e15 and 1e15"),
        ("seed", -1, "0 or more"),
        ("steps", 1.5, "a whole number"),
        ("train_seconds", -1.0, "at least 0 and below 1e15"),
        ("train_seconds", 1e308, "at least 0 and below 1e15"),
        ("lr", [0.1], "a number"),
        ("classes", ["cat", 3], "a list"),
        ("versions", "1.0", "keys and values"),
    ],
)
def test_impossible_values_are_named_and_not_used(tmp_path, key, value, wanted):
    sound = json.loads(RECORD.read_text())
    record, problems = read(tmp_path, json.dumps(sound | {key: value}))
    assert record is not None
    assert record[key] is None
    assert record["parameters"] == 1163
    assert len(problems) == 1
    assert problems[0].startswith(f"summary.json: {key} is ")
    assert f", not {wanted}" in problems[0]
    assert len(problems[0]) < 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        (b"\xff\xfe{}", "codec can't decode"),
        ("[1]", "it does not hold keys and values"),
        ('{"steps": ' + "9" * 400 + "}", "a whole number of more than 64 bits"),
        ('{"a": ' * 3000 + "1" + "}" * 3000, "nested too deeply"),
        ('{"a": ' * 90_000 + "1" + "}" * 90_000, "nested too deeply"),
        ('{"error": "\\ud800"}', "surrogates not allowed"),
        ('{"error": "' + "x" * 20_000_000 + '"}', "it has more than 16,777,216 bytes"),
    ],
)
def test_a_record_that_cannot_be_read_is_described(tmp_path, text, reason):
    record, problems = read(tmp_path, text)
    assert record is None
    assert len(problems) == 1
    assert reason in problems[0]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_damage(tmp_path, before):
    text = before + RECORD.read_bytes().replace(b"\n", b"\r\n")
    assert read(tmp_path, text) == read_record(RECORD)
