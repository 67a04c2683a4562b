"""Train the corpus of the training doctor: every fault in three strengths, and as many healthy runs.

    python experiments/doctor/corpus.py FOLDER --cifar PATH               two cells of each fault and strength
    python experiments/doctor/corpus.py FOLDER --cifar PATH --full        all four networks on both sets of images
    python experiments/doctor/corpus.py FOLDER --minutes 30 --only dead_relus --half building
    python experiments/doctor/corpus.py OTHER --cifar PATH --half test --seed 1   the same cells with another seed

A cell is a network and a set of images: LeNet-5, LeNet-5 with tanh, a quarter of the article net and half of
ResNet-20; the digits and 5,000 images of CIFAR-10. Each pass takes another cell for every fault and strength, the cheap
ones more often, and as many healthy runs; a hash decides which passes belong to the half for building, and which to the
half for the test. All runs are trained in this process, one after the other. Those that FOLDER has are left out, so the
same command goes on where it was stopped. `score.py` judges them.
"""

import argparse
import contextlib
import io
import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed
sys.path.append(str(Path(__file__).resolve().parent))  # own_code, as a user's own module

from cells import CELLS, Cell, Planned, fraction, in_turn
from faults import FAULTS
from folders import Folders
from healthy import HEALTHY

from cnnlab import train
from cnnlab.runs.directory import RunDirectory

TAGS = "corpus.json"  # in each run directory: what `Planned` holds


def plan(passes: int) -> Iterator[list[Planned]]:
    """Yield the runs of each pass: those with faults, and as many healthy ones."""
    healthy = _healthy_in_turn()
    for number in range(passes):
        faulty = [run for strength in (2, 3, 1) for name in FAULTS for run in _faulty(name, strength, number)]
        others = list(itertools.islice(healthy, len(faulty)))
        yield [run for pair in itertools.zip_longest(faulty, others) for run in pair if run]


def _faulty(name: str, strength: int, number: int) -> Iterator[Planned]:
    """Yield the run of a fault and strength in a pass, if there is a cell for it."""
    kind = FAULTS[name]
    cells = in_turn(kind.cells, name, strength)
    if number < len(cells):
        cell, half = cells[number], _half(number + strength, name)
        settings = tuple(kind.settings[strength - 1](cell))
        yield Planned(name, name, strength, cell, half, settings, kind.must_harm, twin_of(name, strength, cell).name)


def _healthy_in_turn() -> Iterator[Planned]:
    for number in range(len(CELLS)):
        for name, kind in sorted(HEALTHY.items(), key=lambda item: fraction(item[0], number)):
            cells = in_turn(kind.cells, name)
            if number < len(cells):
                settings = tuple(kind.settings[0](cells[number]))
                yield Planned(None, name, 0, cells[number], _half(number, name), settings, False, None)


def _half(number: int, name: str) -> str:
    """Return the half of a run: its turns alternate, and a hash decides which half has the first."""
    return ("building", "test")[(number + (fraction(name) < 0.5)) % 2]


def twin_of(name: str, strength: int, cell: Cell) -> Planned:
    """Return the healthy run that the accuracy of a fault is compared with."""
    twins = FAULTS[name].twins
    number = strength if len(twins) > 1 else 0
    settings = tuple(twins[number - 1](cell))
    return Planned(None, f"twin-of-{name}" if settings else "twin", number, cell, "twin", settings, False, None)


def train_one(run: Planned, folder: Path, folders: Folders) -> None:
    """Train a run, unless the folder has it, and tag it. A run that diverges is one of the corpus too."""
    place = folder / "runs" / run.name
    if (place / TAGS).exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    path, replaced = folders.path(run.cell.data), dict[str, str]()
    for setting in (*run.cell.settings(), *run.settings):  # the later ones win
        key, _, value = setting.lstrip("~+").partition("=")
        if value.startswith("@"):
            change, _, strength = value[1:].partition(":")
            path = folders.path(run.cell.data, change, float(strength))
        else:
            replaced[key] = setting
    arguments = [*replaced.values(), f"data.path={path}", f"hydra.run.dir={place}"]
    started, printed = time.monotonic(), io.StringIO()
    code = _run_command(arguments, printed)
    if code == 130:
        raise KeyboardInterrupt
    summary = RunDirectory(place).read_summary()
    if code == 2 or summary is None or summary["status"] == "failed":
        raise RuntimeError(f"{run.name}: {' '.join(arguments)}\n{printed.getvalue()}")
    about = {**asdict(run), "name": run.name, "seconds": round(time.monotonic() - started, 1)}
    (place / TAGS).write_text(json.dumps(about, indent=1))


def _run_command(arguments: list[str], printed: io.StringIO) -> int:
    """Run `cnnlab train` in this process; return its exit code."""
    before, sys.argv = sys.argv, ["cnnlab.train", *arguments]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            train.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where images and runs go")
    parser.add_argument("--cifar", type=Path, help="folder with CIFAR-10 (data.path); without it, digits alone")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="all cells")
    parser.add_argument("--first-pass", type=int, default=1, help="leave out the passes before this one, from 1")
    parser.add_argument("--half", choices=("building", "test"), help="train this half alone")
    parser.add_argument("--minutes", type=float, help="begin no run after this time")
    parser.add_argument("--only", nargs="+", help="faults, or `healthy`")
    parser.add_argument("--seed", type=int, help="of all runs; give each seed a folder of its own")
    arguments = parser.parse_args()
    folder, end = arguments.folder.absolute(), time.monotonic() + 60 * (arguments.minutes or 1e9)
    folders = Folders(folder / "images", arguments.cifar)
    runs: dict[str, Planned] = {}
    passes = plan(len(CELLS) if arguments.full else arguments.passes)
    for planned in itertools.islice(passes, arguments.first_pass - 1, None):
        for run in planned:
            if arguments.half not in (None, run.half):
                continue
            if arguments.only and (run.kind if run.fault else "healthy") not in arguments.only:
                continue
            if run.fault and run.must_harm:
                twin = twin_of(run.fault, run.strength, run.cell)
                runs.setdefault(twin.name, twin)
            runs.setdefault(run.name, run)
    chosen = [run for run in runs.values() if arguments.cifar or run.cell.data == "digits"]
    if arguments.seed is not None:
        chosen = [replace(run, settings=(*run.settings, f"seed={arguments.seed}")) for run in chosen]
    for number, run in enumerate(chosen, start=1):
        if time.monotonic() > end:
            break
        started = time.monotonic()
        try:
            train_one(run, folder, folders)
        except RuntimeError as error:
            print(f"FAILED {error}", flush=True)
        print(f"{number}/{len(chosen)} {run.name} {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
