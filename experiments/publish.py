"""Runs an experiment to its end and writes what came out: `make results EXPERIMENT=NAME ARGS="data.path=FOLDER"`.

    python experiments/publish.py NAME [key=value ...]    trains what is not done yet, then writes the result
    python experiments/publish.py NAME --as-is [...]      writes the result of what is done so far
    python experiments/publish.py --index                 writes the index alone

The arguments are those of `cnnlab train`. It leaves `results/NAME.md`, `.png` and `.json` beside the experiment's file,
and the index of all experiments in the README.md there. A part of an experiment (`seeds=1`, fewer models, a sweep that
was stopped) is a result too, that says so. Exit codes: 0 done, 1 runs failed, 2 the request was wrong, 130 interrupted.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.compare import answer
from cnnlab.config import ROOT
from cnnlab.errors import RequestError
from cnnlab.runs.directory import write_atomically
from cnnlab.runs.reading import read_run, read_shift

if TYPE_CHECKING:
    from hydra_plugins.cnnlab_sweep.experiment import PlannedRun

OF_THE_MACHINE = ("data.path", "data.cache", "data.workers", "data.residence", "seed", "seeds", "logger")


def main(arguments: Sequence[str]) -> int:
    """Does what the arguments say; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="of the experiment")
    parser.add_argument("--as-is", action="store_true", help="train nothing")
    parser.add_argument("--index", action="store_true", help="write the index alone")
    options, others = parser.parse_known_args(arguments)
    try:
        if options.index:
            write_index(ROOT / "experiments")
            return 0
        if wrong := [argument for argument in others if "=" not in argument]:
            raise RequestError(f"{wrong[0]} is not of the form key=value")
        return publish(find_experiment(options.name), others, options.as_is)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def find_experiment(name: str | None) -> Path:
    """The file of an experiment: in the working directory's experiments/ or the project's own."""
    folders = (Path("experiments"), ROOT / "experiments")
    for folder in folders:
        if name and (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise RequestError(f"EXPERIMENT={name or ''} is not known; known: {', '.join(known)}")


def publish(file: Path, arguments: Sequence[str], as_is: bool) -> int:
    """Runs an experiment to its end, and writes its result; returns the exit code."""
    from hydra_plugins.cnnlab_sweep.experiment import asked_of, planned_runs

    name = file.stem
    planned = planned_runs(name, arguments)
    code = 0
    if not as_is and not all(run.complete for run in planned):
        resume = ["resume=auto"] if len(planned) == 1 else []
        command = [sys.executable, "-m", "cnnlab.train", f"experiment={name}", *arguments, *resume]
        code = subprocess.run(command, check=False).returncode
        if code not in (0, 1):
            return code if code > 0 else 130
        planned = planned_runs(name, arguments)
    complete = [run.run.path for run in planned if run.complete and run.run]
    if not complete:
        raise RequestError(f"EXPERIMENT={name}: none of its {len(planned)} runs is complete: nothing to write down")

    from cnnlab.analysis.question import QUESTION, read_question
    from cnnlab.reports.experiments import read_head
    from cnnlab.reports.result import render_result, result_data
    from cnnlab.reports.result_figure import draw_result

    asked = asked_of(name)
    question = read_question(**{key: asked[key] for key in QUESTION})
    if question.shift:
        evaluate_moved(complete, question.shift)
    comparison = answer(complete, asked["targets"], question)
    record = comparison.record
    folder = file.parent / "results"
    folder.mkdir(exist_ok=True)
    figures = []
    for number, section in enumerate(record["sections"], start=1):
        figures.append(f"{name}.png" if number == 1 else f"{name}_{number}.png")
        draw_result(record, section, question.figure, folder / figures[-1])
    conduct = conduct_of(name, arguments, planned, planned_runs(name, machine_arguments(arguments)))
    page = render_result(read_head(file), conduct, [read_run(path) for path in complete], record, figures)
    write_atomically(folder / f"{name}.md", page)
    write_atomically(folder / f"{name}.json", json.dumps(result_data(conduct, record), default=str) + "\n")
    write_index(file.parent)
    print(folder / f"{name}.md")
    return code


def machine_arguments(arguments: Sequence[str]) -> list[str]:
    """Those that say where the images are, which the experiment's file cannot."""
    return [argument for argument in arguments if argument.startswith("data.path=")]


def conduct_of(name: str, arguments: Sequence[str], planned: Sequence["PlannedRun"], in_file: Sequence["PlannedRun"]):  # noqa: D103
    from cnnlab.reports.experiments import without_places
    from cnnlab.reports.result import Conduct

    given = without_places(arguments)
    args = f' ARGS="{" ".join(given)}"' if given else ""
    swept = {key for run in in_file for key in run.arguments}
    changed = [
        argument
        for argument in given
        if (key := argument.partition("=")[0]) not in swept
        and not key.startswith("hydra")
        and key not in OF_THE_MACHINE
    ]
    missing = [f"`{run.name}`: {_why(run)}" for run in planned if not run.complete]
    for wanted in in_file:
        its = {key: value for key, value in wanted.arguments.items() if key != "data.path"}
        if not any(all(run.arguments.get(key) == value for key, value in its.items()) for run in planned):
            missing.append(f"`{wanted.name}`: not asked for by this command")
    return Conduct(f"make results EXPERIMENT={name}{args}", max(len(in_file), len(planned)), missing, changed)


def _why(run: "PlannedRun") -> str:
    error = ((run.run.read_summary() or {}).get("error") if run.run else None) or ""
    return f"{run.status}{f': {error}' if error else ''}"


def evaluate_moved(runs: Sequence[Path], pixels: int) -> None:
    """Shows the test images, moved, to every run that was not shown them yet."""
    for run in runs:
        if read_shift(run, pixels) is None:
            command = [sys.executable, "-m", "cnnlab.evaluate", f"checkpoint={run}", f"shift={pixels}"]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def write_index(folder: Path) -> None:
    """Writes the table of all experiments into the README.md of their folder, where there is one."""
    from cnnlab.reports.experiments import render_index, with_index

    readme = folder / "README.md"
    if readme.exists():
        write_atomically(readme, with_index(readme.read_text(), render_index(folder)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
