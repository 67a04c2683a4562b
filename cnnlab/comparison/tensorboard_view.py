"""Prepare a folder that shows many runs in TensorBoard: short names, means over the seeds, and one layout."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from torch.utils.tensorboard.writer import SummaryWriter

from cnnlab.comparison.columns import counted
from cnnlab.comparison.compare import average_curves
from cnnlab.comparison.group import Group
from cnnlab.comparison.grouping import group_runs
from cnnlab.errors import printable
from cnnlab.runs.outcome import FIRST_COLUMNS, TAGS, readable_settings
from cnnlab.runs.reading import Run, find_runs, read_run

MEANS = "mean"  # the folder of the means
HPARAM_COLUMNS = 5  # that the HParams tab shows at first; TensorBoard's own number
TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")  # in the path of a run
AVERAGED = ("val/accuracy", "val/loss")


def _tags(metric: str) -> tuple[str, str, str]:
    """Return the tags of a metric's mean, lowest and highest value over the seeds."""
    name = metric.replace("/", "_")
    return f"seeds/{name}", f"seeds/{name}_lowest", f"seeds/{name}_highest"


# By category and chart, as SummaryWriter.add_custom_scalars takes it. Tags of several lines are regular expressions.
LAYOUT: Mapping[str, Mapping[str, list[Any]]] = {
    "Accuracy and loss by architecture: mean, lowest and highest over the seeds": {
        "validation accuracy": ["Margin", list(_tags("val/accuracy"))],
        "validation loss": ["Margin", list(_tags("val/loss"))],
    },
    "Accuracy and loss of each run": {
        "validation accuracy": ["Multiline", ["val/accuracy$"]],
        "validation loss": ["Multiline", ["val/loss$"]],
        "training accuracy": ["Multiline", ["train/accuracy$"]],
        "training loss": ["Multiline", ["train/loss$"]],
    },
    "Speed": {
        "training images per second": ["Multiline", ["speed/images_per_second$"]],
        "seconds per epoch, with validation": ["Multiline", ["speed/epoch_seconds$"]],
    },
    "Learning rate": {"learning rate at the end of the epoch": ["Multiline", ["lr$"]]},
}


class View:
    """Folder that TensorBoard reads, with links to the runs' own event files.

    A run is called by its network and its path: `runs/depth/2026-11-25_05-13-07/resnet20_seed-1/tensorboard` becomes
    `resnet20/depth seed-1 11-25_05-13-07`. TensorBoard thus sorts runs by architecture, and can filter by it.

    The folder must be empty; nothing is written anywhere else. The paths are those of
    `cnnlab.runs.reading.find_runs`, which raises RequestError if there is no run.
    """

    def __init__(self, folder: Path, paths: Sequence[str]):
        self.folder = folder
        self.paths = paths
        self._links: dict[Path, Path] = {}  # to the events of a run
        self._runs: dict[Path, tuple[int, Run]] = {}  # with the modification time of its record
        self._averaged: dict[str, tuple[Path, ...]] = {}
        self.refresh()
        self._write_shared()

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
        self._write_means()

    def _link(self, run: Run, root: Path) -> None:
        """Link the event files of the training and those of evaluations with embeddings."""
        path = _absolute(run.path)
        if path not in self._links:
            model = _folder_name(str(run.summary["model"] or "unknown"))
            parts = path.relative_to(root).parts
            place = self.folder / model / " ".join(_name_parts(parts, model))  # spaces: no folder within a link
            taken = place in self._links.values()
            self._links[path] = place.with_name(" ".join(parts)) if taken else place
        place = self._links[path]
        for events in (path / "tensorboard", *sorted(path.glob("evaluation*/tensorboard"))):
            link = place if events.parent == path else place.with_name(f"{place.name} {events.parent.name}")
            if events.is_dir() and not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(events)

    def _write_means(self) -> None:
        """Write the means of each group whose runs have changed."""
        sections = group_runs(self.runs).sections
        groups: dict[str, Group] = {}
        for section in sections:
            about = "" if len(sections) == 1 else f", {' '.join(section.data)}, {section.protocol}"
            for group in section.groups:
                number = counted(len(group.runs), "run" if group.folds else "seed")
                groups[_inside(f"{group.label}{about} ({number})")] = group
        averaged = {name: tuple(run.path for run in group.runs) for name, group in groups.items()}
        for name in self._averaged:
            if averaged.get(name) != self._averaged[name]:
                shutil.rmtree(self.folder / MEANS / name)
        for name, group in groups.items():
            if self._averaged.get(name) != averaged[name]:
                with SummaryWriter(str(self.folder / MEANS / name)) as writer:
                    _add_means(writer, average_curves([run.curve for run in group.runs]))
        self._averaged = averaged

    def _write_shared(self) -> None:
        """Write the layout of the charts, and the columns of the HParams tab."""
        chosen = [readable_settings(run.config, run.summary) for run in self.runs if run.config]
        # TensorBoard takes the columns from the first run that names any: the folder's own comes first.
        with SummaryWriter(str(self.folder)) as writer:
            writer.add_custom_scalars(LAYOUT)
            writer._get_file_writer().add_summary(_columns(chosen))


def _absolute(path: Path) -> Path:
    """Return the path from the root, without `..`, which would lead out of the folder as the name of a link."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def _inside(name: str) -> str:
    """Return a name as the path of a folder that lies within another, whatever a record says."""
    parts = [printable(part)[:100] for part in name.split("/")]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "unknown"


def _folder_name(model: str) -> str:
    """Return the name of a network as a folder that no link to a run can lead out of."""
    name = _inside(model)
    if re.match(r"(timm|torchvision)/[^/]+$", name):
        return name
    return f"{name}_" if name in ("timm", "torchvision", MEANS) else name.replace("/", "_")


def _name_parts(parts: tuple[str, ...], model: str) -> list[str]:
    """Return the parts of a run's path without the network's name; the time comes last, without its year."""
    times = [part.partition("-")[2] for part in parts if TIME.fullmatch(part)]
    others = [part.removeprefix(f"{model}_") for part in parts if part != model and not TIME.fullmatch(part)]
    return [*others, *times] or list(parts)


def _columns(chosen: Sequence[Mapping[str, Any]]) -> Any:
    """Return a summary that names the settings of the runs and the figures in the columns of the HParams tab.

    A setting that is equal in all runs has no column, unless it is one of the most important (`FIRST_COLUMNS`).
    TensorBoard at first shows the five that are marked as differing.
    """
    api, data = cast(Any, api_pb2), cast(Any, plugin_data_pb2)  # their names are made at import
    examples = {key: settings[key] for settings in chosen for key in settings}
    differing = [key for key in examples if len({settings.get(key) for settings in chosen}) > 1]
    shown = [key for key in dict.fromkeys([*FIRST_COLUMNS, *differing]) if key in examples]
    marked = sorted(shown, key=lambda key: key not in differing)[:HPARAM_COLUMNS]
    types = {bool: api.DATA_TYPE_BOOL, str: api.DATA_TYPE_STRING}
    settings = [
        api.HParamInfo(name=key, type=types.get(type(examples[key]), api.DATA_TYPE_FLOAT64), differs=key in marked)
        for key in shown
    ]
    figures = [api.MetricInfo(name=api.MetricName(tag=tag), display_name=name) for name, tag in TAGS.items()]
    experiment = api.Experiment(hparam_infos=settings, metric_infos=figures)
    about = metadata.create_summary_metadata(data.HParamsPluginData(experiment=experiment))
    return Summary(value=[Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=about)])


def _add_means(writer: SummaryWriter, curve: Mapping[str, Any]) -> None:
    for metric in AVERAGED:
        for tag, values in zip(_tags(metric), curve[metric].values(), strict=True):
            for epoch, value in zip(curve["epoch"], values, strict=True):
                if value is not None:
                    writer.add_scalar(tag, value, epoch)
