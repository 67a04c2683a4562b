"""Read a run's event files as TensorBoard does."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer import event_file_writer
from torch import nn

from cnnlab.build.learned import first_convolution
from cnnlab.training.tensorboard import TensorBoard
from tests.helpers import checkpoint, metrics, same_weights, stop_when_asked, summary

# A run of a second: 3 epochs of 3 steps.
TINY = (
    "data=digits",
    "model=lenet5",
    "data.batch_size=16",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=3",
)
CURVES = {
    *("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr"),
    *("speed/images_per_second", "speed/epoch_seconds", "val/balanced_accuracy", "val/macro_f1"),
}
FIGURES = {
    *("test_accuracy", "test_loss", "val_accuracy", "val_loss", "best_epoch"),
    *("train_seconds", "images_per_second", "parameters", "macs", "test_balanced_accuracy", "test_macro_f1"),
}


@pytest.fixture(autouse=True)
def files_numbered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart the numbers in file names: TensorBoard would read the tenth file before the second."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def events(run: Path) -> EventAccumulator:
    everything = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    everything.Reload()
    return everything


def steps(board: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in board.Scalars(tag)]


def pictures(board: EventAccumulator) -> dict[str, dict[int, Image.Image]]:
    return {
        tag: {event.step: Image.open(io.BytesIO(event.encoded_image_string)) for event in board.Images(tag)}
        for tag in board.Tags()["images"]
    }


def chosen(board: EventAccumulator) -> dict[str, Any]:
    content = board.PluginTagToContent(metadata.PLUGIN_NAME)[metadata.SESSION_START_INFO_TAG]
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_a_run_logs_curves_pictures_its_graph_and_its_outcome(train, tmp_path):
    run = tmp_path / "run"
    assert train(*TINY, "seed=3", "hydra.run.dir=run").code == 0
    assert [file.name.partition(".out")[0] for file in (run / "tensorboard").iterdir()] == ["events"]
    board = events(run)
    record = summary(run)
    assert set(board.Tags()["scalars"]) == CURVES  # no charts of a single point
    for tag in CURVES:
        assert steps(board, tag) == [1, 2, 3], tag
    assert all(event.value > 0 for event in board.Scalars("speed/images_per_second"))
    settings = chosen(board)
    assert {name: settings.get(name) for name in FIGURES} == {name: record[name] for name in FIGURES}
    wanted = {
        "model": "lenet5",
        "recipe": "fast",
        "data": "digits",
        "protocol": "holdout",
        "seed": 3,
        "optimizer": "SGD",
    }
    wanted |= {"optimizer.lr": 0.1, "data.batch_size": 16, "trainer.max_epochs": 3, "model.activation": "relu"}
    assert {name: settings.get(name) for name in wanted} == wanted
    assert not {"resume", "logger", "data.path", "trainer.enable_progress_bar"} & set(settings)
    shown = pictures(board)
    assert {tag: list(by_epoch) for tag, by_epoch in shown.items()} == {
        "filters/first_convolution": [0, 3],
        "predictions/validation_images": [1, 2, 3],
        "predictions/confusion_matrix": [3],
    }
    for by_epoch in shown.values():
        for picture in by_epoch.values():
            assert max(picture.size) <= 1200
            assert np.asarray(picture.convert("RGB")).std() > 10
    filters = shown["filters/first_convolution"]
    assert filters[0].tobytes() != filters[3].tobytes()
    assert len(board.Graph().node) > 20
    assert sum(file.stat().st_size for file in (run / "tensorboard").iterdir()) < 250_000


@pytest.mark.parametrize("model", [("model=lenet5", "model.dropout=0.2"), ("model=resnet20", "model.width=0.25")])
def test_logging_does_not_change_the_training(train, tmp_path, model):
    for name, logger in (("with", "tensorboard"), ("without", "none")):
        train(*TINY, *model, f"logger={logger}", f"hydra.run.dir={name}")
    assert same_weights(tmp_path / "with", tmp_path / "without")
    scored = [np.load(tmp_path / name / "predictions.npz")["logits"] for name in ("with", "without")]
    assert np.array_equal(*scored)
    states = [checkpoint(tmp_path / name)["random_states"][0]["cpu"] for name in ("with", "without")]
    assert torch.equal(*states)
    assert metrics(tmp_path / "with", without="seconds") == metrics(tmp_path / "without", without="seconds")
    assert not (tmp_path / "without" / "tensorboard").exists()


@pytest.mark.parametrize("times", [5, 7])  # within the second epoch, and at its end
def test_a_resumed_run_continues_its_curves(train, tmp_path, monkeypatch, times):
    with monkeypatch.context() as patched:
        stop_when_asked(patched, times)
        assert train(*TINY, "hydra.run.dir=run").code == 130
    board = events(tmp_path / "run")
    assert metadata.PLUGIN_NAME not in board.summary_metadata
    # As if the run had been killed when it had logged more than it had saved.
    lost = TensorBoard(str(tmp_path / "run"))
    lost.log_metrics({"val/accuracy": 0.123, "epoch": 2})
    lost.save()
    lost.experiment.close()
    assert train("resume=run").code == 0
    board = events(tmp_path / "run")
    for tag in ("val/accuracy", "train/loss", "lr", "speed/images_per_second"):
        assert steps(board, tag) == [1, 2, 3], tag
    assert board.Scalars("val/accuracy")[2].value != pytest.approx(0.123)
    assert list(pictures(board)["filters/first_convolution"]) == [0, 3]
    assert chosen(board)["model"] == "lenet5"


def test_a_longer_run_shows_its_last_results(train, tmp_path):
    train(*TINY, "trainer.max_epochs=1", "hydra.run.dir=run")
    train("resume=run", "trainer.max_epochs=2")
    board = events(tmp_path / "run")
    assert steps(board, "val/accuracy") == [1, 2]
    record = summary(tmp_path / "run")
    assert chosen(board)["test_loss"] == record["test_loss"] and chosen(board)["trainer.max_epochs"] == 2


def test_predictions_are_logged_after_some_epochs_and_the_last(train, tmp_path):
    train(*TINY, "trainer.max_epochs=12", "trainer.limit_train_batches=1", "hydra.run.dir=run")
    board = events(tmp_path / "run")
    assert list(pictures(board)["predictions/validation_images"]) == [1, 2, 5, 10, 12]


def test_pictures_and_graph_can_be_switched_off(train, tmp_path):
    train(*TINY, "logger.tensorboard.pictures=false", "logger.tensorboard.graph=false", "hydra.run.dir=run")
    board = events(tmp_path / "run")
    assert (board.Tags()["images"], board.Tags()["graph"]) == ([], False)
    assert set(board.Tags()["scalars"]) >= CURVES


def test_embeddings_come_with_names_and_thumbnails(train, tmp_path):
    assert train(*TINY, "logger.tensorboard.embeddings=20", "hydra.run.dir=run").code == 0
    folder = tmp_path / "run" / "tensorboard"
    assert "embeddings" in (folder / "projector_config.pbtxt").read_text()
    (saved,) = folder.glob("*/embeddings")
    assert np.loadtxt(saved / "tensors.tsv").shape == (20, 84)
    rows = [line.split("\t") for line in (saved / "metadata.tsv").read_text().splitlines()]
    assert (rows[0], len(rows)) == (["class", "predicted", "correct"], 21)
    assert (saved / "sprite.png").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("logger.tensorboard.embeddings=-1", "logger.tensorboard.embeddings must be 0 or more, got -1"),
        ("logger.tensorboard.graph=2", "logger.tensorboard.graph"),
        ("logger.tensorboard.filters=true", "logger.tensorboard.filters"),
    ],
)
def test_messages_name_wrong_options(train, option, said):
    outcome = train(*TINY, option)
    assert outcome.code == 2
    assert said in outcome.err


class Untraceable(nn.Module):
    """Refuse to be traced; without a convolution."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.linear = nn.Linear(3 * 28 * 28, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch._C._is_tracing():
            raise RuntimeError("cannot be traced")
        return self.linear(images.flatten(1))


def test_networks_without_graph_or_convolution_and_images_of_another_size_train(train, tmp_path):
    network = f"model._target_={__name__}.Untraceable"
    outcome = train(*TINY, network, "data.image_size=28", "hydra.run.dir=run")
    assert outcome.code == 0
    assert outcome.out.count("TensorBoard gets no graph: this network cannot be traced (cannot be traced)") == 1
    board = events(tmp_path / "run")
    assert set(pictures(board)) == {"predictions/validation_images", "predictions/confusion_matrix"}
    assert not board.Tags()["graph"]


def test_pictures_of_many_classes_and_large_images_are_small(train, tmp_path):
    random = np.random.default_rng(0)
    for number in range(200):
        for name, images in (("train", 5), ("test", 1)):
            folder = tmp_path / "many" / name / f"a class with a long name {number}"
            folder.mkdir(parents=True)
            for i in range(images):
                Image.fromarray(random.integers(0, 256, (40, 46, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    given = ("model=resnet20", "model.width=0.25", "data=folder", "data.path=many", "data.holdout=0.2")
    assert train(*TINY, *given, "data.image_size=40", "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    shown = pictures(events(tmp_path / "run"))
    assert max(shown["predictions/confusion_matrix"][1].size) <= 1200
    assert max(file.stat().st_size for file in (tmp_path / "run" / "tensorboard").iterdir()) < 500_000


def test_the_first_convolution_is_the_first_created():
    inner = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3))
    found = first_convolution(nn.Sequential(inner))
    assert found is inner[1]
    assert first_convolution(nn.Linear(2, 2)) is None
