"""Prepare a folder that shows many runs in TensorBoard: short names, curves by architecture, a page of explanations."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars, text

from cnnlab.comparison.compare import average_curves
from cnnlab.comparison.group import Group
from cnnlab.comparison.grouping import group_runs
from cnnlab.comparison.tables import Table
from cnnlab.comparison.text import titled_table
from cnnlab.errors import printable
from cnnlab.files import from_here
from cnnlab.runs.outcome import FIRST_COLUMNS, RESULTS, readable_settings
from cnnlab.runs.reading import Run, find_runs, read_run

ABOUT = "(about)"  # run with the text, the layout and the columns of HParams; TensorBoard takes them from the first one
LONGEST = 30  # characters of a run's name
LONGEST_MODEL = 18
HPARAM_COLUMNS = 5  # that the HParams tab shows at first; TensorBoard's own number
TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")  # in the path of a run
METRICS = {
    **{"val/accuracy": "validation accuracy", "val/loss": "validation loss"},
    **{"train/accuracy": "training accuracy", "train/loss": "training loss"},
}
SIDES = {"mean": "mean", "low": "lowest", "high": "highest"}  # by their names in a curve


def _tag(metric: str, side: str) -> str:
    return f"{side}/{metric.replace('/', '_')}"


# By category and chart, as SummaryWriter.add_custom_scalars takes it.
LAYOUT: Mapping[str, Mapping[str, list[Any]]] = {
    "By architecture: the mean of n runs that differ in the seed alone, with the lowest and highest of them": {
        name: ["Margin", [_tag(metric, side) for side in SIDES.values()]]
        for metric, name in reversed(METRICS.items())  # TensorBoard shows the last one first
    }
}
TABS = {
    "Custom Scalars": "how architectures compare: a line for each, the mean of its n runs, which differ in the seed "
    "alone, with a band from the lowest to the highest of them. With n = 1, the line is that run.",
    "Time Series": "every run, also while it trains. Runs of one architecture have one colour; type `lenet5` above the "
    "list of runs to see those of LeNet-5.",
    "Images": "the filters of the first layer, predictions for validation images epoch by epoch, the confusion matrix.",
    "Graphs": "layers and operations of a network.",
    "HParams": "a row for each run, its results beside its settings. Click the head of a column to sort.",
    "Projector": "features of images, of runs with `logger.tensorboard.embeddings=500`.",
}


class View:
    """Folder that TensorBoard reads, with links to the runs' own event files.

    A run is called by its network and its place: `runs/depth/2026-11-25_05-13-07/resnet20_seed-1/tensorboard` becomes
    `resnet20/depth seed-1`. Each group of runs that differ in the seed alone has a run of its own, `resnet20 (n = 3)`.

    The folder must be empty; nothing is written anywhere else. The paths are those of
    `cnnlab.runs.reading.find_runs`, which raises RequestError if there is no run.
    """

    def __init__(self, folder: Path, paths: Sequence[str]):
        self.folder = folder
        self.paths = paths
        self._links: dict[Path, Path] = {}  # to the events of a run
        self._runs: dict[Path, tuple[int, Run]] = {}  # with the modification time of its record
        self._averaged: dict[str, tuple[Path, ...]] = {}
        self._explained = ""
        self.refresh()

    @property
    def page(self) -> str:
        """Return the part of TensorBoard to open: of each run while one trains, else by architecture."""
        training = any(run.summary["status"] == "running" for run in self.runs)
        return "timeseries" if training or not self._averaged else "custom_scalars"

    def refresh(self) -> None:
        """Link new runs, and average the runs that are complete by now."""
        found = find_runs(self.paths)
        for path in found:
            changed = (path / "summary.json").stat().st_mtime_ns if (path / "summary.json").exists() else 0
            if self._runs.get(path, (-1,))[0] != changed:
                self._runs[path] = changed, read_run(path)
        self._runs = {path: self._runs[path] for path in found}
        self.runs = [run for _, run in self._runs.values()]
        root = Path(os.path.commonpath([_absolute(path).parent for path in found]))
        for run in self.runs:
            self._link(run, root)
        self._write_groups()
        self._write_about()

    def _link(self, run: Run, root: Path) -> None:
        """Link the event files of the training and those of evaluations with embeddings."""
        path = _absolute(run.path)
        if path not in self._links:
            model = str(run.summary["model"] or "unknown")
            parts = path.relative_to(root).parts
            others = [part.removeprefix(f"{model}_") for part in parts if part != model and not TIME.fullmatch(part)]
            place = " ".join(others) or f"seed {run.summary['seed']}"
            taken = {f"{link.parent.name}/{link.name}" for link in self._links.values()}
            self._links[path] = self.folder / _unique(f"{_folder_name(model)}/{_folder_name(place, 100)}", taken)
        place = self._links[path]
        for events in (path / "tensorboard", *sorted(path.glob("evaluation*/tensorboard"))):
            link = place if events.parent == path else place.with_name(f"{place.name} {events.parent.name}")
            if events.is_dir() and not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(events)

    def _write_groups(self) -> None:
        """Write the curves of each group whose runs have changed, the best group first."""
        sections = group_runs(self.runs).sections
        groups: dict[str, Group] = {}
        for section in sections:
            apart = {"data": " ".join(section.data), "protocol": section.protocol}
            others = [{"data": " ".join(other.data), "protocol": other.protocol} for other in sections]
            about = "".join(f", {value}" for key, value in apart.items() if {o[key] for o in others} != {value})
            for group in section.groups:
                number = f" (n = {len(group.runs)})"
                name = _folder_name(f"{group.label}{about}", LONGEST - len(number))
                groups[_unique(f"{name}{number}", set(groups))] = group
        averaged = {name: tuple(run.path for run in group.runs) for name, group in groups.items()}
        for name in self._averaged:
            if averaged.get(name) != self._averaged[name]:
                shutil.rmtree(self.folder / name)
        for place, (name, group) in enumerate(groups.items()):
            if self._averaged.get(name) != averaged[name]:
                curve = average_curves([run.curve for run in group.runs])
                # TensorBoard gives colours in the order of time: those of the groups, which come first, all differ.
                _write_events(self.folder / name, _group_events(curve), time=1.0 + place)
        self._averaged = averaged

    def _write_about(self) -> None:
        """Write the page that explains the tabs, the layout of the charts, and the columns of the HParams tab."""
        status = {_absolute(run.path): run.summary["status"] or "damaged" for run in self.runs}
        names = {path: "/".join(link.relative_to(self.folder).parts) for path, link in self._links.items()}
        runs = [
            [f"`{printable(names[path])}`", f"`{printable(str(from_here(path)))}`", status.get(path, "removed")]
            for path in sorted(names, key=lambda path: names[path])
        ]
        tabs = Table(["tab", "shows"], [list(tab) for tab in TABS.items()])
        note = "Steps are epochs. Nothing is written to the runs: TensorBoard reads a folder of links to them."
        every = titled_table("# The runs", Table(["name here", "run directory", "status"], runs))
        explanation = "\n".join([*titled_table("# What the tabs show", tabs), note, "", *every])
        if explanation == self._explained:
            return
        summaries = [(0, text("start here", explanation))]
        if not self._explained:
            chosen = [readable_settings(run.config, run.summary) for run in self.runs if run.config]
            summaries += [(0, custom_scalars(LAYOUT)), (0, _columns(chosen))]
        _write_events(self.folder / ABOUT, summaries, time=1.0e9, number=len(list(self.folder.glob(f"{ABOUT}/*"))))
        self._explained = explanation


def _absolute(path: Path) -> Path:
    """Return the path from the root, without `..`, which would lead out of the folder as the name of a link."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def _folder_name(name: str, longest: int = LONGEST_MODEL) -> str:
    """Return a name as that of one folder, whatever a record says, with as many characters at most."""
    name = printable(name).replace("/", ":").strip()
    name = name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
    return name if name not in ("", ".", "..") else "unknown"


def _unique(name: str, taken: set[str]) -> str:
    """Return a name with `LONGEST` characters at most that is not taken: with a number at its end if need be."""
    number, unique = 1, name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip() + "…"
    while unique in taken:
        number += 1
        unique = f"{name[: LONGEST - 1 - len(str(number))].rstrip()} {number}"
    return unique


def _columns(chosen: Sequence[Mapping[str, Any]]) -> Any:
    """Return a summary that names results and settings of the runs in the columns of the HParams tab.

    A setting that is equal in all runs has no column, unless it is one of the most important (`FIRST_COLUMNS`).
    TensorBoard at first shows the five that are marked as differing.
    """
    api, data = cast(Any, api_pb2), cast(Any, plugin_data_pb2)  # their names are made at import
    examples = {key: settings[key] for settings in chosen for key in settings}
    differing = [key for key in examples if len({settings.get(key) for settings in chosen}) > 1]
    shown = [key for key in dict.fromkeys([*FIRST_COLUMNS, *differing]) if key in examples]
    marked = sorted(shown, key=lambda key: key not in differing)[: HPARAM_COLUMNS - 1]
    types = {bool: api.DATA_TYPE_BOOL, str: api.DATA_TYPE_STRING}
    results = [api.HParamInfo(name=key, type=api.DATA_TYPE_FLOAT64, differs=key == RESULTS[0]) for key in RESULTS]
    settings = [
        api.HParamInfo(name=key, type=types.get(type(examples[key]), api.DATA_TYPE_FLOAT64), differs=key in marked)
        for key in shown
    ]
    metrics = [
        api.MetricInfo(name=api.MetricName(tag=tag), display_name=f"last {name}") for tag, name in METRICS.items()
    ]
    experiment = api.Experiment(hparam_infos=[*settings[:1], *results, *settings[1:]], metric_infos=metrics)
    about = metadata.create_summary_metadata(data.HParamsPluginData(experiment=experiment))
    return Summary(value=[Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=about)])


def _group_events(curve: Mapping[str, Any]) -> Iterable[tuple[int, Any]]:
    """Yield epochs, each with the summary of a group's curves there."""
    for row, epoch in enumerate(curve["epoch"]):
        known = {_tag(m, tag): curve[m][side][row] for m in METRICS for side, tag in SIDES.items()}
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in known.items() if value is not None]
        yield int(epoch), Summary(value=values)


def _write_events(folder: Path, summaries: Iterable[tuple[int, Any]], time: float, number: int = 0) -> None:
    """Write steps with summaries into an event file, all of them at a time in seconds."""
    folder.mkdir(exist_ok=True)
    with (folder / f"events.out.tfevents.{number:06}").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
        for step, summary in summaries:
            writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())
