"""Test the figures of a comparison."""

import warnings

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.figures import draw_comparison
from cnnlab.comparison.page import render_page
from cnnlab.runs.reading import find_runs, read_run


def test_figures_are_drawn(record, tmp_path, pixels):
    files = draw_comparison(record.sections[0], tmp_path, "comparison_", pixels)
    assert len(files) == 6
    assert {file.name for file in tmp_path.iterdir()} == set(files.values())
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())


def test_long_names_leave_room_for_the_figures(make_run, tmp_path, pixels):
    many = ", ".join(f"model.option_{number}=value" for number in range(9))
    for name in ("a", "b", "c"):
        make_run(tmp_path / f"run_{name}", f"{name}, {many}")
    section = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]).sections[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib only warns where axes have no room left
        assert len(draw_comparison(section, tmp_path, "long_", pixels)) == 6


def test_one_run_alone_has_figures_too(make_run, tmp_path, pixels):
    run = read_run(make_run(tmp_path / "run", epochs=1, images=50))
    (section,) = compare_runs([run]).sections
    (tmp_path / "report").mkdir()
    assert set(draw_comparison(section, tmp_path / "report", "", pixels)) == {
        "learning curves",
        "accuracy against cost",
        "accuracy by class",
    }
    assert "Two groups side by side" not in render_page(compare_runs([run]), [None])
