import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from cnnlab.errors import RequestError
from cnnlab.reports.dashboard import write_dashboard


def write_run(folder: Path, settings: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "summary.json").write_text(json.dumps({"status": "completed", "model": folder.name}))


def plugin_contents(folder: Path, plugin: str) -> dict[str, bytes]:
    events = EventAccumulator(str(folder)).Reload()
    return dict(events.PluginTagToContent(plugin))


def test_all_runs_share_a_layout_and_the_columns_of_each(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "lenet5", {"model": {"_target_": "x.LeNet5", "width": 2.0}, "tta": "none"})
    write_run(tmp_path / "b" / "job" / "vgg11", {"model": {"_target_": "x.VGG", "batch_norm": True}, "tta": "none"})
    write_dashboard(tmp_path)
    folder = write_dashboard(tmp_path)  # a second time replaces the first
    assert len(list(folder.iterdir())) == 1
    content = metadata.parse_experiment_plugin_data(plugin_contents(folder, "hparams")[metadata.EXPERIMENT_TAG])
    names = [info.name for info in content.hparam_infos]
    assert names[0] == "model"
    assert {"model.width", "model.batch_norm"} <= set(names)
    assert "tta" not in names  # the same in both
    assert "final/test_accuracy" in {info.name.tag for info in content.metric_infos}

    events = EventAccumulator(str(folder)).Reload()
    (value,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(value.tensor_proto.string_val[0])  # pyright: ignore[reportAttributeAccessIssue]
    assert {"Accuracy", "Loss", "Speed", "Learning rate"} <= {category.title for category in layout.category}


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run in"):
        write_dashboard(tmp_path)
    with pytest.raises(RequestError, match="not a folder"):
        write_dashboard(tmp_path / "none")
