from typing import Any

from matplotlib.figure import Figure
from matplotlib.image import imread

from cnnlab.speed.report import draw_speed, print_speed

NAMES = {"model": "resnet152", "batch_size": 1024, "precision": "bf16-mixed", "compile": "reduce-overhead"}


def part(speed: float) -> dict[str, float]:
    return {
        "images_per_second": speed,
        "step_seconds": 1.23456,
        "step_iqr": 0.01111,
        "floor_images_per_second": 10 * speed,
        "floor_share": 0.1,
    }


MEASURED = {
    "error": None,
    "macs": 3_456_789_012,
    "training": part(123_456.7),
    "inference": part(1_234_567.8),
    "peak_memory_bytes": 98_765_000_000,
    "startup_seconds": 123.4,
    "compile_seconds": 234.5,
}


def record(**changed: Any) -> dict[str, Any]:
    machine = {"device": "NVIDIA H200", "versions": {"torch": "2.15.0", "lightning": "2.6.6"}}
    rates = {"device_type": "cuda", "rates": {"float32": 5e13, "tf32": 4e14, "bfloat16": 8e14, "copy": 4.3e12}}
    results = [NAMES | MEASURED, NAMES | {"error": "OutOfMemoryError: CUDA out of memory"}]
    known = {
        "images": "synthetic",
        "recipe": "fast",
        "rounds": 3,
        "machine": machine,
        "floor": rates,
        "results": results,
    }
    return known | changed


def test_the_tables_show_the_figures_in_a_hundred_columns(capsys):
    print_speed(record())
    printed = capsys.readouterr().out
    for text in (
        "resnet152",
        "reduce-overhead",
        "123,457",
        "1,234,568",
        "1,235",
        "11.11",
        "98.77",
        "123.4",
        "234.5",
    ):
        assert text in printed
    for text in ("NVIDIA H200", "synthetic", "bfloat16 800.00", "4,300 GB/s", "3,456.8", "10.0%", "out of memory"):
        assert text in printed
    assert "upper bound: images/s" in printed
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 100


def test_without_measured_rates_no_upper_bound_is_printed(capsys):
    print_speed(record(floor=None))
    assert "bound" not in capsys.readouterr().out


def test_the_figure_is_drawn_with_and_without_results(tmp_path):
    draw_speed(record(), tmp_path / "one.png")
    draw_speed(record(results=record()["results"][1:], machine=None), tmp_path / "none.png")
    assert imread(tmp_path / "one.png").std() > 0.05
    assert (tmp_path / "none.png").is_file()


def test_a_figure_on_a_logarithmic_scale_has_points_and_no_bars(tmp_path, monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr("cnnlab.speed.report.save_figure", lambda figure, file: drawn.append(figure))
    draw_speed(record(), tmp_path / "x.png")
    (axes,) = drawn[0].axes
    assert (axes.get_xscale(), list(axes.patches)) == ("log", [])
    assert [text.get_text() for text in axes.texts] == ["123,457", "1,234,568"]
    assert drawn[0].get_suptitle() and "n = 3 rounds" in axes.get_title("left") and "per second" in axes.get_xlabel()
