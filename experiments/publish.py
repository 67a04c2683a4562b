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
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.compare import answer
from cnnlab.config import ROOT
from cnnlab.errors import RequestError
from cnnlab.runs.directory import write_atomically
from cnnlab.runs.reading import read_run, read_shift

if TYPE_CHECKING:
    from cnnlab.comparison.result import Conduct
    from hydra_plugins.cnnlab_sweep.experiment import Plan, PlannedRun

# Arguments that leave what the file asks for as it is; fewer seeds are told as runs that are missing.
ASIDE = ("data.path=", "data.cache=", "data.workers=", "data.residence=", "seed=", "seeds=", "logger=", "hydra")


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
    from hydra_plugins.cnnlab_sweep.experiment import asked_of, plan_of

    name = file.stem
    plan = plan_of(name, arguments)
    code = 0
    if not as_is and len(plan.complete) < len(plan.runs):
        code = train([f"experiment={name}", *arguments, *([] if plan.sweeps else ["resume=auto"])])
        if code not in (0, 1):
            return code if code > 0 else 130
        plan = plan_of(name, arguments)
    if not plan.complete:
        raise RequestError(f"EXPERIMENT={name}: none of its {len(plan.runs)} runs is complete: nothing to write down")
    places = [argument for argument in arguments if argument.startswith("data.path=")]
    conduct = conduct_of(name, arguments, plan, plan_of(name, places))
    write_result(file, asked_of(name), plan.complete, conduct)
    write_index(file.parent)
    print(file.parent / "results" / f"{name}.md")
    return code


def train(arguments: Sequence[str]) -> int:
    """Runs `cnnlab train`; returns its exit code. It saves and ends with Ctrl-C, which it gets too, and SIGTERM."""
    process = subprocess.Popen([sys.executable, "-m", "cnnlab.train", *arguments])
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        return process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write_result(file: Path, asked: Mapping[str, Any], runs: Sequence[Path], conduct: "Conduct") -> None:
    """Compares the runs, and writes the page with its figure and the numbers behind it.

    Args:
        file: of the experiment.
        asked: the keys of its comparison.
        runs: directories of those that are complete.
        conduct: how they came about.
    """
    from cnnlab.comparison.experiment_files import read_head, without_paths
    from cnnlab.comparison.result import render_result, result_data
    from cnnlab.comparison.result_figure import draw_result
    from cnnlab.comparison.spec import QUESTION, read_question, read_targets

    question = read_question(**{key: asked[key] for key in QUESTION})
    if question.shift:
        evaluate_moved(runs, question.shift)
    record = answer(runs, read_targets(asked["targets"]), question).record
    record["notices"] = [without_paths(notice) for notice in record["notices"]]
    folder = file.parent / "results"
    folder.mkdir(exist_ok=True)
    figures = [f"{file.stem}{f'_{n}' if n else ''}.png" for n in range(len(record["sections"]))]
    for section, figure in zip(record["sections"], figures, strict=True):
        draw_result(record, section, question.figure, folder / figure)
    page = render_result(read_head(file), conduct, [read_run(path) for path in runs], record, figures)
    write_atomically(folder / f"{file.stem}.md", page)
    write_atomically(folder / f"{file.stem}.json", json.dumps(result_data(conduct, record), default=str) + "\n")


def conduct_of(name: str, arguments: Sequence[str], plan: "Plan", in_file: "Plan") -> "Conduct":
    """How the experiment was run, and what of it is missing.

    Args:
        name: of the experiment.
        arguments: of this command.
        plan: the runs that these ask for.
        in_file: the runs that its file asks for.
    """
    from cnnlab.comparison.experiment_files import without_places
    from cnnlab.comparison.result import Conduct

    given = without_places(arguments)
    told = f' ARGS="{" ".join(given)}"' if given else ""
    swept = {f"{key}=" for run in in_file.runs for key in run.arguments}
    changed = [argument for argument in given if not argument.startswith((*ASIDE, *swept))]
    missing = [f"`{run.name}`: {_why(run)}" for run in plan.runs if not run.complete]
    for wanted in in_file.runs:
        its = {key: value for key, value in wanted.arguments.items() if key != "data.path"}
        if not any(its.items() <= run.arguments.items() for run in plan.runs):
            missing.append(f"`{wanted.name}`: not asked for by this command")
    return Conduct(f"make results EXPERIMENT={name}{told}", max(len(in_file.runs), len(plan.runs)), missing, changed)


def _why(run: "PlannedRun") -> str:
    """What became of a run, and the error if it failed."""
    from cnnlab.comparison.experiment_files import without_paths

    error = (run.run.read_summary() or {}).get("error") if run.run and run.status == "failed" else None
    return f"{run.status}: {without_paths(error)}" if error else run.status


def evaluate_moved(runs: Sequence[Path], pixels: int) -> None:
    """Shows the test images, moved, to every run that was not shown them yet."""
    for run in runs:
        if read_shift(run, pixels) is None:
            command = [sys.executable, "-m", "cnnlab.evaluate", f"checkpoint={run}", f"shift={pixels}"]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def write_index(folder: Path) -> None:
    """Writes the table of all experiments into the README.md of their folder, where there is one."""
    from cnnlab.comparison.experiment_files import render_index, with_index

    readme = folder / "README.md"
    if readme.exists():
        write_atomically(readme, with_index(readme.read_text(), render_index(folder)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
