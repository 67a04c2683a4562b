"""Log pictures of what a network has learned so far to TensorBoard."""

import copy
import logging
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from cnnlab.build.network import CHANNELS
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.instantiate import first_line
from cnnlab.reports.learned import confusion_picture, filters_picture, samples_picture
from cnnlab.training.tensorboard import TensorBoard

log = logging.getLogger(__name__)

PREDICTION_EPOCHS = tuple(digit * 10**power for power in range(7) for digit in (1, 2, 5))  # and the last epoch
SAMPLES = 16  # validation images whose predictions are shown


class LearnedSoFar(Callback):
    """Log pictures of what the network has learned: its first filters, and its predictions for some images.

    Predictions come from the validation itself, and the graph from a copy of the network: training stays the same, bit
    for bit. Filters are logged before and after the training; predictions after epochs 1, 2, 5, 10, 20, 50, ... and the
    last.
    """

    def __init__(self, logger: TensorBoard, data: ImageDataModule):
        self.logger, self.data = logger, data
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
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        if self.logger.graph and not is_resumed:
            self._log_graph(network)
        if self.logger.pictures and not is_resumed:
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

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
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
            val = self.data.val
            picture = samples_picture(val.read(positions), val.labels[positions], probabilities, self.data.classes)
            self.logger.log_picture("predictions/validation_images", picture, self._drawn_epoch)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the filters of the tested network and its confusion matrix."""
        if not trainer.is_global_zero or not self.logger.pictures:
            return
        self._log_filters(pl_module.network, trainer.current_epoch)  # type: ignore[arg-type]
        outputs: list[tuple[Tensor, Tensor]] = pl_module.test_outputs  # type: ignore[assignment]
        logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        picture = confusion_picture(logits, labels, self.data.classes)
        self.logger.log_picture("predictions/confusion_matrix", picture, trainer.current_epoch)

    def _log_filters(self, network: nn.Module, epoch: int) -> None:
        if (layer := first_convolution(network)) is not None:
            picture = filters_picture(layer.weight.detach().float().cpu())
            self.logger.log_picture("filters/first_convolution", picture, epoch)

    def _log_graph(self, network: nn.Module) -> None:
        image = torch.zeros(1, CHANNELS, self.data.image_size, self.data.image_size)
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
