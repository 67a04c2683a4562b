"""Run an experiment to its end and write its result: `make results EXPERIMENT=NAME ARGS="data.path=FOLDER"`.

    python experiments/publish.py NAME [key=value ...]    train what is missing, then write the result
    python experiments/publish.py NAME --as-is [...]      write the result of the runs that are complete
    python experiments/publish.py NAME --continue [...]   take the runs in records/ as complete, train the others
    python experiments/publish.py --index                 write the index only
    python experiments/publish.py --figures               draw all figures again, from the numbers in results/NAME.json

The arguments are those of `cnnlab train`. The script writes `results/NAME.md`, `.png` and `.json` beside the
experiment's file, and updates the index of all experiments in README.md. It keeps the records of the complete runs in
`records/NAME`. `--continue` takes the records of any experiment whose settings are those of a planned run, as runs with
the images of `data.path`. A part of an experiment (`seeds=1`, fewer models, a sweep that was stopped) has a result too,
and its page says that it is a part. Exit codes: 0 done, 1 runs failed, 2 the request was wrong, 130 interrupted.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # if cnnlab is not installed

from experiment_files import Header, read_header, render_index, with_index, without_local_paths, without_paths
from kept_records import bring_records, keep_records
from result_page import Execution, message, read_result, render_result, result_data

from cnnlab.compare import compare_directories
from cnnlab.config import ROOT
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.runs.reading import read_shift

if TYPE_CHECKING:
    from planned_runs import Plan, PlannedRun

    from cnnlab.comparison.records import ComparisonRecord

# Arguments that do not change the file's settings; fewer seeds are reported as missing runs.
HARMLESS_ARGUMENTS = (
    *("data.path=", "data.cache=", "data.workers=", "data.residence="),
    *("seed=", "seeds=", "logger=", "hydra"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the script, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="name of the experiment")
    parser.add_argument("--as-is", action="store_true", help="do not train")
    parser.add_argument("--continue", action="store_true", dest="continues", help="take kept records as complete runs")
    parser.add_argument("--index", action="store_true", help="write the index only")
    parser.add_argument("--figures", action="store_true", help="draw the figures of all results again")
    options, others = parser.parse_known_args(arguments)
    try:
        if options.figures:
            redraw(ROOT / "experiments")
            return 0
        if options.index:
            write_index(ROOT / "experiments")
            return 0
        if wrong := [argument for argument in others if "=" not in argument]:
            raise RequestError(f"{wrong[0]} is not of the form key=value")
        file = find_experiment(options.name)
        if options.continues:
            from planned_runs import plan_experiment

            path = next((argument.partition("=")[2] for argument in others if argument.startswith("data.path=")), None)
            bring_records(file.parent / "records", plan_experiment(file.stem, others), file.stem, path)
        return publish(file, others, options.as_is)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def find_experiment(name: str | None) -> Path:
    """Return the file of an experiment, in experiments/ of the working directory or of the project."""
    folders = (Path("experiments"), ROOT / "experiments")
    for folder in folders:
        if name and (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise RequestError(f"EXPERIMENT={name or ''} is not known; known: {', '.join(known)}")


def publish(file: Path, arguments: Sequence[str], as_is: bool) -> int:
    """Run an experiment to its end, write its result, and return the exit code."""
    from planned_runs import comparison_settings, plan_experiment

    name = file.stem
    plan = plan_experiment(name, arguments)
    code = 0
    if not as_is and len(plan.complete) < len(plan.runs):
        code = train([f"experiment={name}", *arguments, *([] if plan.sweeps else ["resume=auto"])])
        if code not in (0, 1):
            return code if code > 0 else 130
        plan = plan_experiment(name, arguments)
    if not plan.complete:
        raise RequestError(f"EXPERIMENT={name}: none of its {len(plan.runs)} runs is complete, so there is no result")
    paths = [argument for argument in arguments if argument.startswith("data.path=")]
    execution = execution_of(name, arguments, plan, plan_experiment(name, paths))
    write_result(file, comparison_settings(name), plan.complete, execution)
    keep_records(plan.complete, file.parent / "records" / name)
    write_index(file.parent)
    print(file.parent / "results" / f"{name}.md")
    return code


def train(arguments: Sequence[str]) -> int:
    """Run `cnnlab train` and return its exit code. Ctrl-C and SIGTERM reach it too: it saves and ends."""
    process = subprocess.Popen([sys.executable, "-m", "cnnlab.train", *arguments], env=_environment())
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        return process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write_result(file: Path, comparison: Mapping[str, Any], runs: Sequence[Path], execution: Execution) -> None:
    """Compare the runs, and write the page with its figure and its numbers.

    Args:
        file: of the experiment.
        comparison: keys of `comparison:` in the file.
        runs: directories of the complete runs.
        execution: how the experiment was run.
    """
    from cnnlab.comparison.spec import read_spec

    spec = read_spec(comparison)
    if spec.shift:
        evaluate_moved(runs, spec.shift)
    record, read = compare_directories(runs, spec)
    record = replace(record, notices=[without_paths(notice) for notice in record.notices])
    folder = file.parent / "results"
    folder.mkdir(exist_ok=True)
    figures = [file.name for file in figure_files(folder, file.stem, record)]
    header = read_header(file)
    draw_figures(header, execution.command, record, spec.figure, folder)
    page = render_result(header, execution, read, record, figures)
    write_atomically(folder / f"{file.stem}.md", page)
    write_atomically(folder / f"{file.stem}.json", json.dumps(result_data(execution, record), default=str) + "\n")


def figure_files(folder: Path, name: str, record: "ComparisonRecord") -> list[Path]:
    """Return the file of the figure of each section."""
    return [folder / f"{name}{f'_{n}' if n else ''}.png" for n in range(len(record.sections))]


def draw_figures(header: Header, command: str, record: "ComparisonRecord", panels: Sequence[str], folder: Path) -> None:
    """Draw a figure for each section, with the question and the answer of the experiment."""
    from result_figure import draw_result

    for section, figure in zip(record.sections, figure_files(folder, header.name, record), strict=True):
        question = header.question or header.name
        draw_result(record, section, panels, figure, question, message(header, command, section))


def redraw(folder: Path) -> None:
    """Draw the figures of all results in a folder of experiments again."""
    from planned_runs import comparison_settings

    from cnnlab.comparison.spec import read_spec

    for file in sorted((folder / "results").glob("*.json")):
        command, record = read_result(file)
        header = read_header(folder / f"{file.stem}.yaml")
        draw_figures(header, command, record, read_spec(comparison_settings(file.stem)).figure, file.parent)


def execution_of(name: str, arguments: Sequence[str], plan: "Plan", in_file: "Plan") -> Execution:
    """Return how the experiment was run, and which of its runs are missing.

    Args:
        name: of the experiment.
        arguments: of this command.
        plan: the runs that the arguments ask for.
        in_file: the runs that the experiment's file asks for.
    """
    given = without_local_paths(arguments)
    shown = f' ARGS="{" ".join(given)}"' if given else ""
    swept = {f"{key}=" for run in in_file.runs for key in run.arguments}
    changed = [argument for argument in given if not argument.startswith((*HARMLESS_ARGUMENTS, *swept))]
    missing = [f"`{run.name}`: {_why(run)}" for run in plan.runs if not run.complete]
    for planned in in_file.runs:
        own = {key: value for key, value in planned.arguments.items() if key != "data.path"}
        if not any(own.items() <= run.arguments.items() for run in plan.runs):
            missing.append(f"`{planned.name}`: not part of this command")
    return Execution(f"make results EXPERIMENT={name}{shown}", max(len(in_file.runs), len(plan.runs)), missing, changed)


def _why(run: "PlannedRun") -> str:
    """Return the status of a run, and the error if it failed."""
    error = (run.run.read_summary() or {}).get("error") if run.run and run.status == "failed" else None
    return f"{run.status}: {without_paths(error)}" if error else run.status


def evaluate_moved(runs: Sequence[Path], pixels: int) -> None:
    """Evaluate every run on moved test images, unless it was before."""
    for run in runs:
        if read_shift(run, pixels) is None:
            command = [sys.executable, "-m", "cnnlab.evaluate", f"checkpoint={run}", f"shift={pixels}"]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=_environment())


def _environment() -> dict[str, str]:
    """Return the environment of a process that finds cnnlab where this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])}


def write_index(folder: Path) -> None:
    """Write the table of all experiments into the README.md of their folder, if there is one."""
    readme = folder / "README.md"
    if readme.exists():
        write_atomically(readme, with_index(readme.read_text(), render_index(folder)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
