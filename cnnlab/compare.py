"""Compares runs: which network is better, by how much, at what cost: `python -m cnnlab.compare runs=runs/sweep`."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.errors import RequestError
from cnnlab.runs.directory import check_output_folder, write_atomically
from cnnlab.runs.reading import find_runs, read_run

if TYPE_CHECKING:
    from cnnlab.comparison.compare import Comparison
    from cnnlab.comparison.grouping import Section
    from cnnlab.comparison.spec import Question
    from cnnlab.data.recorded import TestImages

log = logging.getLogger("cnnlab.compare")

FIGURES = ("curves", "cost", "differences", "classes", "confusion", "images")


def compare(config: DictConfig) -> None:
    """Compares the runs that the configuration names, writes the report and prints a short table."""
    settings = configuration.settings(config)
    runs = settings["runs"]
    if not runs or not isinstance(runs, str | list) or not all(isinstance(path, str) for path in runs):
        raise RequestError("runs: which runs? Give a folder, for example runs=runs/sweep, or runs=[FOLDER,FOLDER]")
    paths = [runs] if isinstance(runs, str) else runs
    found = find_runs(paths)
    folder = check_output_folder(settings["output"] or default_output(paths))

    from cnnlab.comparison.figures import draw_comparison
    from cnnlab.comparison.page import render_page
    from cnnlab.comparison.spec import QUESTION, read_question, read_targets
    from cnnlab.comparison.text import print_comparison, render_csv, render_markdown
    from cnnlab.reports.terminal import terminal_width

    question = read_question(**{key: settings[key] for key in QUESTION})
    comparison = answer(found, read_targets(settings["targets"]), question)
    record = comparison.record
    if not record["sections"]:
        first = record["set_aside"][0]
        raise RequestError(
            f"runs: none of {len(found)} has a test accuracy to compare; the first, {first['path']}: {first['reason']}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in (file for name in FIGURES for file in folder.glob(f"comparison_*{name}.png")):
        old.unlink()
    images = [_test_images(section, record["notices"]) for section in comparison.grouping.sections]
    figures = []
    for number, (section, shown) in enumerate(zip(record["sections"], images, strict=True), start=1):
        if shown:
            section["classes"] = list(shown.classes)
        prefix = "comparison_" if len(images) == 1 else f"comparison_{number}_"
        figures.append(draw_comparison(section, folder, prefix, shown.read if shown else None))
    write_atomically(folder / "comparison.json", json.dumps(record, default=str) + "\n")
    write_atomically(folder / "comparison.csv", render_csv(record))
    write_atomically(folder / "comparison.md", render_markdown(record, figures))
    page = render_page(record, [shown.read if shown else None for shown in images])
    write_atomically(folder / "comparison.html", page)
    print_comparison(record, terminal_width())
    log.info("%s", folder / "comparison.html")


def answer(runs: Sequence[Path], targets: list[float], question: "Question") -> "Comparison":
    """Reads run directories and compares them, with the sizes of the feature maps where they are asked for."""
    from cnnlab.build.network import DescribedImages, map_sizes
    from cnnlab.comparison.compare import compare_runs

    comparison = compare_runs([read_run(path) for path in runs], targets, question)
    if question.maps:
        for section, shown in zip(comparison.grouping.sections, comparison.record["sections"], strict=True):
            for group, entry in zip(section.groups, shown["groups"], strict=True):
                if config := group.runs[0].config:
                    images = DescribedImages(config["data"]["image_size"], 3, group.runs[0].classes or 10)
                    entry["maps"] = map_sizes(config["model"], images)
    return comparison


def default_output(paths: list[str]) -> Path:
    """`comparison/` in the folder that is compared; in the working directory where that is not one folder of runs."""
    folder = Path(paths[0]).expanduser()
    one = len(paths) == 1 and folder.is_dir() and not (folder / "summary.json").exists()
    return (folder if one else Path()) / "comparison"


def _test_images(section: "Section", notices: list[str]) -> "TestImages | None":
    """The test images of a section, from wherever one of its runs had them."""
    from cnnlab.data.recorded import find_test_images

    reason = "none of the runs has a readable configuration"
    tried: list[Any] = []
    for run in (run for group in section.groups for run in group.runs if run.config):
        data = run.config["data"]  # pyright: ignore[reportOptionalSubscript]
        where = [data.get(key) for key in ("source", "path", "cache", "image_size")]
        if where in tried:
            continue
        tried.append(where)
        try:
            return find_test_images(data, section.fingerprint)
        except (RequestError, KeyError, OSError) as error:
            reason = str(error)
    where = f"{', '.join(section.data)}, protocol {section.protocol}"
    notices.append(f"The test images of {where}, are listed by number, not shown: {reason}.")
    return None


main = configuration.make_command("compare", compare)

if __name__ == "__main__":
    main()
