"""What a person sees in TensorBoard, read back from the event files of short runs on digits."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer import event_file_writer
from torch import nn

from cnnlab.training.interruption import StopRequest
from cnnlab.training.tensorboard import first_convolution

SHORT = ("data=digits", "data.batch_size=64", "trainer.limit_train_batches=2", "trainer.enable_progress_bar=false")


@pytest.fixture(autouse=True)
def files_numbered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one second and process, files are read in the order of their numbers' digits: the tenth before the second."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def events_of(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard"), {"images": 0, "scalars": 0}).Reload()


def points(run: Path, tag: str) -> list[int]:
    return [point.step for point in events_of(run).Scalars(tag)]


def picture(event) -> Image.Image:
    image = Image.open(io.BytesIO(event.encoded_image_string))
    assert image.size == (event.width, event.height)
    return image


def test_a_run_shows_curves_pictures_graph_and_outcome(train, tmp_path):
    assert train("model=lenet5", *SHORT, "trainer.max_epochs=3", "hydra.run.dir=run").code == 0
    run = tmp_path / "run"
    events = events_of(run)
    curves = {f"{split}/{what}" for split in ("train", "val") for what in ("loss", "accuracy")}
    for tag in {*curves, "lr", "speed/images_per_second", "speed/epoch_seconds"}:
        assert [point.step for point in events.Scalars(tag)] == [1, 2, 3], tag
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("test/")]
    assert [event.step for event in events.Images("filters/first_convolution")] == [0, 3]
    answers = events.Images("predictions/validation_images")
    assert [event.step for event in answers] == [1, 2, 3]  # 1, 2, and the last
    assert picture(answers[0]).tobytes() != picture(answers[-1]).tobytes()
    (confusions,) = events.Images("predictions/confusion_matrix")
    assert picture(confusions).width > 300
    assert "features" in str(events.Graph())
    started = metadata.parse_session_start_info_plugin_data(
        events.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    )
    assert started.hparams["model"].string_value == "lenet5"
    assert started.hparams["optimizer.lr"].number_value == pytest.approx(0.1)
    assert [point.step for point in events.Scalars("final/test_accuracy")] == [3]
    assert sum(file.stat().st_size for file in (run / "tensorboard").iterdir()) < 400_000


def test_what_is_trained_does_not_depend_on_the_logger(train, tmp_path):
    weights, rows = [], []
    for logger in ("tensorboard", "none"):
        assert (
            train("model=article", *SHORT, "trainer.max_epochs=2", f"logger={logger}", f"hydra.run.dir={logger}").code
            == 0
        )
        checkpoint = torch.load(tmp_path / logger / "checkpoints" / "last.ckpt", weights_only=True)
        weights.append(checkpoint["state_dict"])
        lines = (tmp_path / logger / "metrics.csv").read_text().splitlines()
        rows.append([line.split(",")[:2] + line.split(",")[3:] for line in lines])
    assert rows[0] == rows[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "none" / "tensorboard").exists()


def test_a_run_that_goes_on_continues_its_curves(train, tmp_path):
    options = ("model=lenet5", *SHORT)
    assert train(*options, "trainer.max_epochs=2", "hydra.run.dir=run").code == 0
    assert train("resume=run", "trainer.max_epochs=4", "hydra.run.dir=run").code == 0
    assert points(tmp_path / "run", "val/accuracy") == [1, 2, 3, 4]
    assert [event.step for event in events_of(tmp_path / "run").Images("filters/first_convolution")] == [0, 2, 4]


@pytest.mark.parametrize("asked", [4, 6])  # within the second epoch of two steps, and at its end
def test_a_run_that_was_stopped_lacks_no_epoch(train, tmp_path, monkeypatch, asked):
    answers = iter([False] * (asked - 1) + [True] * 99)
    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "__call__", lambda self: next(answers))
        assert train("model=lenet5", *SHORT, "trainer.max_epochs=3", "hydra.run.dir=run").code == 130
    assert train("resume=run").code == 0
    for tag in ("val/accuracy", "train/loss", "lr", "speed/images_per_second"):
        assert points(tmp_path / "run", tag) == [1, 2, 3], tag


def test_pictures_and_graph_are_choices(train, tmp_path):
    options = ("logger.tensorboard.pictures=false", "logger.tensorboard.graph=false")
    assert train("model=lenet5", *SHORT, *options, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    tags = events_of(tmp_path / "run").Tags()
    assert tags["images"] == []
    assert not tags["graph"]


ODD = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.head = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images):
        if torch.jit.is_tracing():
            raise RuntimeError("this cannot be traced")
        return self.head(images.flatten(1))
"""


def test_a_network_without_convolution_that_cannot_be_traced_trains(train, tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "odd.yaml").write_text("_target_: odd.Odd\n")
    outcome = train("model=odd", *SHORT, "data.image_size=20", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert outcome.code == 0
    assert "no graph" in (tmp_path / "run" / "train.log").read_text()
    tags = events_of(tmp_path / "run").Tags()
    assert set(tags["images"]) == {"predictions/validation_images", "predictions/confusion_matrix"}


def test_the_first_convolution_is_that_of_the_image():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3))
    assert first_convolution(network) is network[0]
    assert first_convolution(nn.Linear(2, 2)) is None
