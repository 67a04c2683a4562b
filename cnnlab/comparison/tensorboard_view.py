"""What TensorBoard is shown of many runs: each under a short name, the means of those that differ in the seed, and one
layout for all."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnnlab.comparison.grouping import Group, group_runs
from cnnlab.runs.outcome import FIRST, TAGS, readable_settings
from cnnlab.runs.reading import Run, find_runs, read_run

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

MEANS = "mean"  # the folder of the means
SHOWN = 5  # columns of the HParams tab at first; TensorBoard's own number
TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")  # in the place of a run
AVERAGED = ("val/accuracy", "val/loss")


def _tags(metric: str) -> tuple[str, str, str]:
    """Of a metric's mean, and of the lowest and highest value of the seeds."""
    name = metric.replace("/", "_")
    return f"seeds/{name}", f"seeds/{name}_lowest", f"seeds/{name}_highest"


def _each(*metrics: str) -> list[Any]:
    """A chart with a line for each run; TensorBoard takes regular expressions."""
    return ["Multiline", [f"{metric}$" for metric in metrics]]


# By category and chart, as SummaryWriter.add_custom_scalars takes it.
LAYOUT: Mapping[str, Mapping[str, list[Any]]] = {
    "Accuracy and loss by architecture: mean, lowest and highest of the seeds": {
        "validation accuracy": ["Margin", list(_tags("val/accuracy"))],
        "validation loss": ["Margin", list(_tags("val/loss"))],
    },
    "Accuracy and loss of each run": {
        "validation accuracy": _each("val/accuracy"),
        "validation loss": _each("val/loss"),
        "training accuracy": _each("train/accuracy"),
        "training loss": _each("train/loss"),
    },
    "Speed": {
        "training images a second": _each("speed/images_per_second"),
        "seconds an epoch, with validation": _each("speed/epoch_seconds"),
    },
    "Learning rate": {"learning rate at the end of the epoch": _each("lr")},
}


class View:
    """A folder for TensorBoard to look at, in which the runs' own event files are linked.

    A run is called by its network and its place: `runs/depth/2026-11-25_05-13-07/resnet20_seed-1/tensorboard` goes by
    `resnet20/depth seed-1 11-25_05-13-07`. Runs are thus sorted by architecture, and can be chosen and coloured by it.

    Args:
        folder: empty; nothing is written anywhere else.
        paths: of the runs, as for `cnnlab.runs.reading.find_runs`.

    Raises:
        RequestError: when there is no run.
    """

    def __init__(self, folder: Path, paths: Sequence[str]):
        self.folder = folder
        self.paths = paths
        self._places: dict[Path, Path] = {}  # where the events of a run are linked
        self._runs: dict[Path, tuple[int, Run]] = {}  # with the time of the record that was read
        self._averaged: dict[str, tuple[Path, ...]] = {}
        self.refresh()
        self._write_shared()

    def refresh(self) -> None:
        """Links runs that have come since, and averages those that are complete now."""
        found = find_runs(self.paths)
        for path in found:
            changed = (path / "summary.json").stat().st_mtime_ns if (path / "summary.json").exists() else 0
            if self._runs.get(path, (-1,))[0] != changed:
                self._runs[path] = changed, read_run(path)
        self._runs = {path: self._runs[path] for path in found}
        runs = [run for _, run in self._runs.values()]
        root = Path(os.path.commonpath([path.absolute().parent for path in found]))
        for run in runs:
            self._link(run, root)
        self._write_means(runs)

    def _link(self, run: Run, root: Path) -> None:
        """Links the event files of the training, and those that an evaluation with embeddings has left."""
        path = run.path.absolute()
        if path not in self._places:
            model = str(run.summary["model"] or "unknown")
            parts = path.relative_to(root).parts
            place = self.folder / model / " ".join(_telling(parts, model))  # not within another link, which is a run's
            taken = place in self._places.values()
            self._places[path] = place.with_name(" ".join(parts)) if taken else place
        place = self._places[path]
        for events in (path / "tensorboard", *sorted(path.glob("evaluation*/tensorboard"))):
            link = place if events.parent == path else place.with_name(f"{place.name} {events.parent.name}")
            if events.is_dir() and not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(events)

    def _write_means(self, runs: Sequence[Run]) -> None:
        """Writes the means of each group whose runs are others than before."""
        sections = group_runs(runs).sections
        groups: dict[str, Group] = {}
        for section in sections:
            about = "" if len(sections) == 1 else f", {' '.join(section.data)}, {section.protocol}"
            for group in section.groups:
                seeds = f"{len(group.runs)} seeds" if len(group.runs) > 1 else "1 seed"
                groups[f"{group.label}{about} ({seeds})"] = group
        averaged = {name: tuple(run.path for run in group.runs) for name, group in groups.items()}
        for name in self._averaged:
            if averaged.get(name) != self._averaged[name]:
                shutil.rmtree(self.folder / MEANS / name)
        for name, group in groups.items():
            if self._averaged.get(name) != averaged[name]:
                with _writer(self.folder / MEANS / name) as writer:
                    _add_means(writer, [run.curve for run in group.runs])
        self._averaged = averaged

    def _write_shared(self) -> None:
        """Writes the layout of the charts, and which columns the HParams tab has."""
        runs = [run for _, run in self._runs.values()]
        chosen = [readable_settings(run.config, run.summary) for run in runs if run.config]
        # TensorBoard takes the columns from the first run that names any: the folder's own comes first.
        with _writer(self.folder) as writer:
            writer.add_custom_scalars(LAYOUT)
            writer._get_file_writer().add_summary(_columns(chosen))


def _telling(parts: tuple[str, ...], model: str) -> list[str]:
    """The parts of a run's place less the network's name; the time last, less its year."""
    times = [part.partition("-")[2] for part in parts if TIME.fullmatch(part)]
    others = [part.removeprefix(f"{model}_") for part in parts if part != model and not TIME.fullmatch(part)]
    return [*others, *times] or list(parts)


def _columns(chosen: Sequence[Mapping[str, Any]]) -> Any:
    """A summary that says which settings and figures the HParams tab has columns for.

    Settings that are the same in all runs have none, unless they are among the first to be asked for. TensorBoard shows
    five before it is asked for more: those that it is told to differ, which is said here of the five most telling.

    Args:
        chosen: the settings of each run.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    api, data = cast(Any, api_pb2), cast(Any, plugin_data_pb2)  # made while they are imported
    examples = {key: settings[key] for settings in chosen for key in settings}
    differing = [key for key in examples if len({settings.get(key) for settings in chosen}) > 1]
    shown = [key for key in dict.fromkeys([*FIRST, *differing]) if key in examples]
    telling = sorted(shown, key=lambda key: key not in differing)[:SHOWN]
    types = {bool: api.DATA_TYPE_BOOL, str: api.DATA_TYPE_STRING}
    settings = [
        api.HParamInfo(name=key, type=types.get(type(examples[key]), api.DATA_TYPE_FLOAT64), differs=key in telling)
        for key in shown
    ]
    figures = [api.MetricInfo(name=api.MetricName(tag=tag), display_name=name) for name, tag in TAGS.items()]
    experiment = api.Experiment(hparam_infos=settings, metric_infos=figures)
    about = metadata.create_summary_metadata(data.HParamsPluginData(experiment=experiment))
    return Summary(value=[Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=about)])


def _writer(folder: Path) -> "SummaryWriter":
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(folder))


def _add_means(writer: "SummaryWriter", curves: Sequence[Mapping[str, list[float | None]]]) -> None:
    """Adds mean, lowest and highest value of several runs for each epoch that all of them have measured."""
    for metric in AVERAGED:
        for epoch, values in enumerate(zip(*(curve.get(metric, []) for curve in curves), strict=False), start=1):
            known = [value for value in values if value is not None]
            if len(known) == len(curves):
                figures = sum(known) / len(known), min(known), max(known)
                for tag, value in zip(_tags(metric), figures, strict=True):
                    writer.add_scalar(tag, value, epoch)
