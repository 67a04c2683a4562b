"""Compare runs: which network is better, by how much, and at what cost: `cnnlab compare runs=runs/sweep`."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.display import progress_bar, suggest_next, terminal_width, wrapped
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, check_output_folder, own_folder
from cnnlab.runs.reading import Run, find_runs, read_run
from cnnlab.waiting import tell

if TYPE_CHECKING:
    from cnnlab.comparison.records import ComparisonRecord, SectionRecord
    from cnnlab.comparison.spec import ComparisonSpec
    from cnnlab.data.recorded import TestImages

log = logging.getLogger("cnnlab.compare")


def compare(config: DictConfig) -> None:
    """Compare the runs of the configuration, write the report and print a short table."""
    settings = configuration.settings(config)
    runs = settings["runs"]
    if not runs or not isinstance(runs, str | list) or not all(isinstance(path, str) for path in runs):
        raise RequestError("runs: which runs? Give a folder, for example runs=runs/sweep, or runs=[FOLDER,FOLDER]")
    paths = [runs] if isinstance(runs, str) else runs
    from cnnlab.comparison.spec import read_spec
    from cnnlab.comparison.text import FORMATS, print_comparison

    spec = read_spec(settings)
    form = settings["format"]
    if form is not None and form not in FORMATS:
        raise RequestError(f"format: {form} is not one of {', '.join(FORMATS)}")
    if form and settings["output"]:
        raise RequestError("output: format= prints a table and writes no report; give one of the two")
    if settings["claim"] is not None:
        _claim(settings["claim"], paths, spec)
        return
    found = find_runs(paths)
    folder = Path() if form else check_output_folder(settings["output"] or default_output(paths))

    from cnnlab.comparison.report import write_report

    record, read = compare_directories(found, spec)
    if not record.sections:
        first = record.set_aside[0]
        raise RequestError(
            f"runs: none of {len(found)} has a test accuracy to compare; the first, {first['path']}: {first['reason']}"
        )
    if form:
        print(FORMATS[form](record), end="")
        return
    configs = {str(run.path): run.config for run in read}
    images, notices = zip(*(_test_images(section, configs) for section in record.sections), strict=True)
    sections = [
        replace(section, classes=list(shown.classes)) if shown else section
        for section, shown in zip(record.sections, images, strict=True)
    ]
    record = replace(record, sections=sections, notices=[*record.notices, *filter(None, notices)])
    tell("Drawing the report")
    page = write_report(record, [shown.read if shown else None for shown in images], folder)
    print_comparison(record, terminal_width())
    log.info("%s", page)
    best = RunDirectory(record.sections[0].groups[0].best_run)
    if best.best_checkpoint.exists():
        suggest_next(shlex.join(["cnnlab", "evaluate", f"checkpoint={best.path}"]))


def _claim(text: Any, paths: Sequence[str], spec: "ComparisonSpec") -> None:
    """Write a claim down, or judge it by the runs that have started since."""
    from cnnlab.comparison.claims import FILE, judge, make_claim, parse, read_claim

    folder = Path(paths[0]).expanduser()
    if len(paths) > 1 or (folder.exists() and not folder.is_dir()) or (folder / "summary.json").exists():
        raise RequestError("claim: runs must be one folder, in which the runs are or will be")
    parse(str(text))
    found = find_runs(paths) if folder.exists() and any(folder.rglob("summary.json")) else []
    if not (folder / FILE).exists():
        file = make_claim(str(text), folder, found, spec.value)
        print(f"{file}: claimed; the runs that start from now on will decide")
        return
    claim = read_claim(str(text), folder, spec.value)
    verdict = judge(claim, folder, found, lambda runs: compare_directories(runs, spec)[0])
    print(wrapped(f"{text} (claimed {claim.made}): {verdict}", sys.stdout))


def compare_directories(paths: Sequence[Path], spec: "ComparisonSpec") -> tuple["ComparisonRecord", list[Run]]:
    """Read run directories, and return their comparison and the runs."""
    from cnnlab.comparison.compare import compare_runs

    with progress_bar(len(paths), "reading the runs", "runs") as bar:
        runs = []
        for path in paths:
            runs.append(read_run(path))
            bar.update()
    tell("Comparing the runs")
    return compare_runs(runs, spec, _map_sizes), runs


def _map_sizes(run: Run) -> list[int] | None:
    from cnnlab.build.network import DescribedImages, map_sizes

    if not run.config:
        return None
    return map_sizes(run.config["model"], DescribedImages(run.config["data"]["image_size"], 3, run.classes or 10))


def default_output(paths: list[str]) -> Path:
    """Return `comparison/` in the folder of runs; in the working directory if there are several, or a single run."""
    folder = Path(paths[0]).expanduser()
    one = len(paths) == 1 and folder.is_dir() and not (folder / "summary.json").exists()
    return own_folder((folder if one else Path()) / "comparison")


def _test_images(
    section: "SectionRecord", configs: Mapping[str, Mapping[str, Any] | None]
) -> tuple["TestImages | None", str | None]:
    """Return the test images of a section, from wherever one of its runs had them, or why there are none."""
    if section.folds:  # its runs are judged by training images
        return None, None
    from cnnlab.data.recorded import find_test_images

    reason = "none of the runs has a readable configuration"
    tried: list[Any] = []
    every = (configs[run["path"]] for group in section.groups for run in group.runs)
    for data in (config["data"] for config in every if config):
        where = [data.get(key) for key in ("source", "path", "cache", "image_size")]
        if where in tried:
            continue
        tried.append(where)
        try:
            return find_test_images(data, section.fingerprint), None
        except (RequestError, KeyError, OSError) as error:
            reason = str(error)
    return None, f"The report lists the test images of {section.title} by number instead of showing them: {reason}."


main = configuration.make_command("compare", compare)

if __name__ == "__main__":
    main()
