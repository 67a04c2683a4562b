import pytest

from cnnlab.speed.benchmark import Combination, combinations, result, speed
from cnnlab.speed.turns import Contestant

ROW = Combination("lenet5", 100, "auto", "off")


def contestant(error: str | None = None) -> Contestant:
    made = Contestant(lambda task, report: None, {})
    made.error, made.startup_seconds = error, 4.5
    return made


def turn(images: int, seconds: list[float]) -> dict:
    return {
        "train": {"images": images, "seconds": seconds},
        "inference": {"images": images, "seconds": [second / 4 for second in seconds]},
        "peak_memory_bytes": 10**9,
    }


FIRST = {"parameters": 10, "macs": 1_000_000, "precision": "bf16-mixed", "data_fingerprint": "f"}
REPORTS = [
    FIRST | {"train": {"images": 100, "seconds": [3.0]}},
    turn(200, [1.5, 0.5]),
    turn(200, [0.5, 0.5]),
    turn(200, [1.0, 1.0]),
    turn(200, [0.5, 0.3]),
]


def test_every_combination_appears_once():
    rows = combinations(["a", "b"], [1, 2], ["auto"], ["off", "default"])
    assert len(set(rows)) == len(rows) == 8
    assert rows[0] == Combination("a", 1, "auto", "off")


def test_speed_is_the_median_of_the_rounds_and_steps():
    figures = speed([report["train"] for report in REPORTS[2:]])
    assert figures["rounds"] == [200, 100, 250]
    assert figures["images_per_second"] == 200
    assert (figures["step_seconds"], figures["steps"]) == (0.5, 6)
    assert figures["step_iqr"] == pytest.approx(0.875 - 0.5)


def test_a_row_has_all_figures():
    rates = {"device_type": "cpu", "rates": {"float32": 1e9, "bfloat16": 6e9, "copy": 1e9}}
    row = result(ROW, contestant(), REPORTS, rates, tf32=True)
    assert (row["model"], row["precision"], row["error"]) == ("lenet5", "bf16-mixed", None)
    assert row["inference"]["images_per_second"] == 800
    assert row["compile_seconds"] == pytest.approx(3.0 + 1.5 + 0.5 - 3 * 0.5)
    assert (row["startup_seconds"], row["peak_memory_bytes"]) == (4.5, 10**9)
    assert row["training"]["floor_images_per_second"] == pytest.approx(1000)
    assert row["training"]["floor_share"] == pytest.approx(0.2)
    assert row["inference"]["floor_images_per_second"] == pytest.approx(3000)


def test_without_rates_there_is_no_upper_bound():
    assert "floor_share" not in result(ROW, contestant(), REPORTS, None, tf32=True)["training"]


def test_a_failed_combination_has_only_an_error():
    row = result(ROW, contestant("out of memory"), REPORTS[:2], None, tf32=True)
    assert row == {
        "model": "lenet5",
        "batch_size": 100,
        "precision": "auto",
        "compile": "off",
        "error": "out of memory",
    }
