"""What TensorBoard shows of all runs together: `make dashboard`.

python -m cnnlab.reports.dashboard runs    writes it into runs/dashboard, before TensorBoard is started on runs
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.outcome import FIGURES, FIRST, readable_settings
from cnnlab.runs.reading import find_runs

FOLDER = "dashboard"
# Charts of several curves, by chapter; tags as the runs log them. TensorBoard draws each for all runs that are ticked,
# and the name of a run has its network's name in it.
LAYOUT = {
    "Accuracy": {"held-out": ["Multiline", ["val/accuracy"]], "training": ["Multiline", ["train/accuracy"]]},
    "Loss": {"held-out": ["Multiline", ["val/loss"]], "training": ["Multiline", ["train/loss"]]},
    "Overfitting": {
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "loss": ["Multiline", ["train/loss", "val/loss"]],
    },
    "Speed": {
        "images per second": ["Multiline", ["speed/images_per_second"]],
        "seconds of an epoch": ["Multiline", ["speed/epoch_seconds"]],
    },
    "Learning rate": {"learning rate": ["Multiline", ["^lr$"]]},
}


def write_dashboard(runs: Path) -> Path:
    """Writes what belongs to no single run: the layout of the custom scalars, and the columns of the HParams tab.

    TensorBoard takes the columns from one place, for all runs.

    Args:
        runs: a folder with runs at any depth; what was written there before is replaced.

    Returns:
        The folder that was written.

    Raises:
        RequestError: when it is no folder with runs.
    """
    from tensorboard.plugins.hparams import summary_v2
    from torch.utils.tensorboard.writer import SummaryWriter

    if not runs.is_dir():
        raise RequestError(f"{runs} is not a folder; runs are made by cnnlab train")
    records = map(RunDirectory, find_runs([str(runs)]))
    columns = telling([readable_settings(run.read_config() or {}, run.read_summary() or {}) for run in records])
    folder = runs / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(folder) as writer:
        writer.add_custom_scalars(LAYOUT)
        summary = summary_v2.hparams_config_pb(
            hparams=[summary_v2.HParam(name) for name in columns],
            metrics=[summary_v2.Metric(f"final/{name}", display_name=name) for name in FIGURES],
        )
        writer._get_file_writer().add_summary(summary, 0)  # pyright: ignore[reportOptionalMemberAccess]
    return folder


def telling(chosen: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are worth a column: those that are looked at first, and those in which the runs differ.

    Args:
        chosen: what each run chose, see `cnnlab.runs.outcome.readable_settings`.
    """
    names = dict.fromkeys(name for settings in chosen for name in settings)
    return [name for name in names if name in FIRST or len({settings.get(name) for settings in chosen}) > 1]


def main(arguments: Sequence[str]) -> int:
    """Writes it for the folder that is named; returns the exit code."""
    try:
        write_dashboard(Path(arguments[0] if arguments else "runs"))
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
