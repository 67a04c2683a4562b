"""Log to TensorBoard: metrics per epoch, and pictures of what a network has learned so far."""

import copy
import functools
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch import Tensor, nn

from cnnlab.instantiate import first_line
from cnnlab.limits import Whole

log = logging.getLogger(__name__)

PREDICTION_EPOCHS = tuple(digit * 10**power for power in range(7) for digit in (1, 2, 5))  # and the last epoch
SAMPLES = 16  # validation images whose predictions are shown


def _writing(method: Callable[..., None]) -> Callable[..., None]:
    """Have a method of the logger do nothing in other processes than the first, and name the folder in its errors."""

    @rank_zero_only
    @functools.wraps(method)
    def call(logger: "TensorBoard", *arguments: Any, **named: Any) -> None:
        try:
            method(logger, *arguments, **named)
        except OSError as error:
            error.filename = error.filename or logger.log_dir
            raise

    return call


class TensorBoard(TensorBoardLogger):
    """Write event files whose steps are epochs, counted from 1, so that runs with different batch sizes compare.

    Args:
        save_dir: the run directory; files go to its folder `tensorboard`.
        pictures: log first-layer filters, sample predictions and the confusion matrix.
        graph: log the network's graph.
        embeddings: number of test images in the projector, placed by the input of the last layer.
    """

    def __init__(self, save_dir: str, pictures: bool = True, graph: bool = True, embeddings: Whole = 0):
        super().__init__(save_dir, name="", version="tensorboard", default_hp_metric=False)
        self.pictures, self.graph, self.embeddings = pictures, graph, embeddings

    @_writing
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of an epoch. Test metrics, which are single points, go to the HParams tab only."""
        metrics = dict(metrics)
        epoch = metrics.pop("epoch", None)
        curves = {name: value for name, value in metrics.items() if not name.startswith("test")}
        super().log_metrics(curves, step if epoch is None else int(epoch) + 1)

    @_writing
    def save(self) -> None:
        """Write everything to disk, but not Lightning's hparams.yaml: the run has its config.yaml."""
        self.experiment.flush()

    @_writing
    def finalize(self, status: str) -> None:
        """Save, but keep the file open: the test still follows, and would open a second file."""
        self.save()

    @_writing
    def log_outcome(self, settings: Mapping[str, Any], figures: Mapping[str, float], epoch: int) -> None:
        """Log the run's row for the HParams tab, and close the file.

        Does not define the tab's columns: TensorBoard would take them from one run and hide those that only other runs
        have. Whoever opens several runs defines the columns.

        Args:
            settings: texts, numbers and booleans by name.
            figures: final metrics by tag.
            epoch: the last epoch.
        """
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(figures, epoch)
        _, start, end = hparams(dict(settings), dict(figures))
        for summary in (start, end):
            self.experiment._get_file_writer().add_summary(summary, epoch)
        self.experiment.close()

    @_writing
    def log_picture(self, tag: str, picture: Image.Image, epoch: int) -> None:
        """Log an RGB picture in 256 colours: with enlarged pixels, a third of the size of a JPEG."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        packed = io.BytesIO()
        picture.quantize(256).save(packed, "PNG", optimize=True)
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=packed.getvalue()
        )
        self.experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)

    @_writing
    def forget_from(self, epoch: int) -> None:
        """Make readers drop data of this and later epochs, logged by a run that stopped before it saved them."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        event = Event(session_log=SessionLog(status=SessionLog.START))
        self.experiment._get_file_writer().add_event(event, epoch)


class LearnedSoFar(Callback):
    """Log pictures of what the network has learned: its first filters, and its predictions for some images.

    Predictions come from the validation itself, and the graph from a copy of the network: training stays the same, bit
    for bit. Filters are logged before and after the training; predictions after epochs 1, 2, 5, 10, 20, 50, ... and the
    last.

    Args:
        logger: the logger.
        image_shape: shape of the network's images, (C, H, W).
        draw_filters: draws filters, float32 (out, in, height, width).
        draw_samples: draws validation images with predictions, from their positions, int64 (M,), and class
            probabilities, float32 (M, classes).
        draw_confusions: draws the confusion matrix of the test images, from logits (N, classes) and labels (N,).
    """

    def __init__(
        self,
        logger: TensorBoard,
        image_shape: tuple[int, int, int],
        draw_filters: Callable[[Tensor], Image.Image],
        draw_samples: Callable[[Tensor, Tensor], Image.Image],
        draw_confusions: Callable[[Tensor, Tensor], Image.Image],
    ):
        self.logger = logger
        self.image_shape = image_shape
        self.draw_filters, self.draw_samples, self.draw_confusions = draw_filters, draw_samples, draw_confusions
        self._drawn_epoch = 0  # last epoch whose predictions were drawn
        self._batches: list[Tensor] = []  # positions of the validation images, batch by batch, if predictions are due
        self._chosen = torch.empty(0, dtype=torch.long)
        self._predictions: list[tuple[Tensor, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the untrained network, or let a resumed run continue its curves where it was saved."""
        epoch = self._drawn_epoch = trainer.current_epoch
        if not trainer.is_global_zero:
            return
        is_resumed = epoch > 0 or trainer.fit_loop.restarted_mid_epoch
        self.logger.forget_from(epoch + 1 if is_resumed else 0)
        if is_resumed:
            return
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        if self.logger.graph:
            self._log_graph(network)
        if self.logger.pictures:
            self._log_filters(network, epoch=0)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose images, spread evenly over those that this process validates, if predictions are due."""
        self._predictions, self._batches = [], []
        if not self.logger.pictures or not trainer.is_global_zero or trainer.sanity_checking:
            return
        epoch = trainer.current_epoch + 1
        if epoch != trainer.max_epochs and not any(self._drawn_epoch < due <= epoch for due in PREDICTION_EPOCHS):
            return
        loader: Any = trainer.val_dataloaders
        self._batches = loader.shares()[: int(trainer.num_val_batches[0])]
        positions = torch.cat(self._batches)
        self._chosen = positions[torch.linspace(0, len(positions) - 1, min(SAMPLES, len(positions))).long()]

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the predictions for the chosen images."""
        if not self._batches:
            return
        positions = self._batches[batch_idx]
        rows = torch.isin(positions, self._chosen).nonzero().flatten()
        if len(rows):
            logits = outputs[rows.to(outputs.device)]
            self._predictions.append((positions[rows], logits.float().softmax(dim=1).cpu()))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the chosen images with their predictions."""
        if self._predictions:
            self._drawn_epoch = trainer.current_epoch + 1
            positions, probabilities = (torch.cat(parts) for parts in zip(*self._predictions, strict=True))
            picture = self.draw_samples(positions, probabilities)
            self.logger.log_picture("predictions/validation_images", picture, self._drawn_epoch)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the filters of the tested network and its confusion matrix."""
        if not trainer.is_global_zero or not self.logger.pictures:
            return
        self._log_filters(pl_module.network, trainer.current_epoch)  # type: ignore[arg-type]
        outputs: list[tuple[Tensor, Tensor]] = pl_module.test_outputs  # type: ignore[assignment]
        logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        picture = self.draw_confusions(logits, labels)
        self.logger.log_picture("predictions/confusion_matrix", picture, trainer.current_epoch)

    def _log_filters(self, network: nn.Module, epoch: int) -> None:
        if (layer := first_convolution(network)) is not None:
            picture = self.draw_filters(layer.weight.detach().float().cpu())
            self.logger.log_picture("filters/first_convolution", picture, epoch)

    def _log_graph(self, network: nn.Module) -> None:
        image = torch.zeros(1, *self.image_shape)
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
                warnings.simplefilter("ignore")  # tracing is deprecated, but TensorBoard supports nothing else
                traced = torch.jit.trace(copy.deepcopy(network).cpu().eval(), image, check_trace=False)
                self.logger.experiment.add_graph(traced, image)
        except OSError:
            raise
        except Exception as error:  # a network that cannot be traced may raise anything
            log.info("TensorBoard gets no graph: this network cannot be traced (%s).", first_line(error))


def first_convolution(network: nn.Module) -> nn.Conv2d | None:
    """Return the first convolution in the order in which the network creates its layers, or None."""
    return next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
