"""TensorBoard: figures by epoch, and pictures of what a network has learned so far."""

import copy
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

log = logging.getLogger(__name__)

EPOCHS = tuple(digit * 10**power for power in range(7) for digit in (1, 2, 5))  # whose answers are shown
SAMPLES = 16  # validation images among them

FilterPicture = Callable[[Tensor], Image.Image]
SamplePicture = Callable[[Tensor, Tensor], Image.Image]
ConfusionPicture = Callable[[Tensor, Tensor], Image.Image]


class TensorBoard(TensorBoardLogger):
    """Writes event files in which steps are epochs, counted from 1, so that runs with other batch sizes compare.

    Args:
        save_dir: the run directory; the files are in its folder `tensorboard`.
        pictures: whether there are first-layer filters, sample predictions and the confusion matrix.
        graph: whether there is the network's graph.
        embeddings: how many test images the projector shows, by what the last layer sees of them.

    Raises:
        ValueError: when `embeddings` is negative.
    """

    def __init__(self, save_dir: str, pictures: bool = True, graph: bool = True, embeddings: int = 0):
        if embeddings < 0:
            raise ValueError(f"embeddings must be 0 or more, got {embeddings}")
        super().__init__(save_dir, name="", version="tensorboard", default_hp_metric=False)
        self.pictures, self.graph, self.embeddings = pictures, graph, embeddings

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs what Lightning has of an epoch. The test's figures, single points, are left to the HParams tab."""
        metrics = dict(metrics)
        epoch = metrics.pop("epoch", None)
        curves = {name: value for name, value in metrics.items() if not name.startswith("test")}
        super().log_metrics(curves, step if epoch is None else int(epoch) + 1)

    @rank_zero_only
    def save(self) -> None:
        """Brings all to the disk. Lightning's own would write an hparams.yaml too: the run has its config.yaml."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The same: a training ends before the test, and a file that was closed would have another beside it."""
        self.save()

    @rank_zero_only
    def log_outcome(self, settings: Mapping[str, Any], figures: Mapping[str, float], epoch: int) -> None:
        """Logs what the HParams tab shows of a run, what was chosen and what came out, and closes the file.

        Which columns there are is left to the one who opens several runs: TensorBoard takes that from a single run, and
        would leave out what only others have.

        Args:
            settings: texts, numbers and booleans by name.
            figures: final ones by tag.
            epoch: the last.
        """
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(figures, epoch)
        _, start, end = hparams(dict(settings), dict(figures))
        for summary in (start, end):
            self.experiment._get_file_writer().add_summary(summary, epoch)
        self.experiment.close()

    @rank_zero_only
    def log_picture(self, tag: str, picture: Image.Image, epoch: int) -> None:
        """Logs a picture in 256 colours: where pixels are enlarged, that is a third of the bytes of a JPEG.

        Args:
            tag: its name.
            picture: RGB.
            epoch: that it is of.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        packed = io.BytesIO()
        picture.quantize(256).save(packed, "PNG", optimize=True)
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=packed.getvalue()
        )
        self.experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)

    @rank_zero_only
    def forget_from(self, epoch: int) -> None:
        """Makes readers drop what was written of this and later epochs, by a run that did not come to save them."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        event = Event(session_log=SessionLog(status=SessionLog.START))
        self.experiment._get_file_writer().add_event(event, epoch)


class LearnedSoFar(Callback):
    """Shows in TensorBoard what the network has learned: its first filters, and its answers to some images.

    The answers are those of the validation itself, and the graph is of a copy: training is left as it is, to the bit.
    Filters are shown as they start and as they end; answers after the epochs 1, 2, 5, 10, 20, 50, ... and the last.

    Args:
        logger: where to.
        image_shape: of the network's images, (C, H, W).
        draw_filters: draws filters, float32 (out, in, height, width).
        draw_samples: draws validation images with answers, from their positions, int64 (M,), and probabilities of the
            classes, float32 (M, classes).
        draw_confusions: draws the answers to all test images, from logits (N, classes) and labels (N,).
    """

    def __init__(
        self,
        logger: TensorBoard,
        image_shape: tuple[int, int, int],
        draw_filters: FilterPicture,
        draw_samples: SamplePicture,
        draw_confusions: ConfusionPicture,
    ):
        self.logger = logger
        self.image_shape = image_shape
        self.draw_filters, self.draw_samples, self.draw_confusions = draw_filters, draw_samples, draw_confusions
        self._epoch = 0  # the last that is done
        self._drawn = 0  # the last whose answers were
        self._shares: list[Tensor] = []  # positions of the validation images, batch by batch, while they are collected
        self._shown = torch.empty(0, dtype=torch.long)
        self._answers: list[tuple[Tensor, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The network as it starts. A run that goes on writes its curves on from where it was saved."""
        self._epoch = self._drawn = trainer.current_epoch
        if not trainer.is_global_zero:
            return
        started = self._epoch > 0 or trainer.fit_loop.restarted_mid_epoch
        self.logger.forget_from(self._epoch + 1 if started else 0)
        if started:
            return
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        if self.logger.graph:
            self._log_graph(network)
        if self.logger.pictures:
            self._log_filters(network)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Chooses the images, spread evenly over those that this process validates, if it is time."""
        self._answers, self._shares = [], []
        if not self.logger.pictures or not trainer.is_global_zero or trainer.sanity_checking:
            return
        epoch = trainer.current_epoch + 1
        if epoch != trainer.max_epochs and not any(self._drawn < shown <= epoch for shown in EPOCHS):
            return
        loader: Any = trainer.val_dataloaders
        self._shares = loader.shares()[: int(trainer.num_val_batches[0])]
        every = torch.cat(self._shares)
        self._shown = every[torch.linspace(0, len(every) - 1, min(SAMPLES, len(every))).long()]

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the answers to the chosen images."""
        if not self._shares:
            return
        positions = self._shares[batch_idx]
        rows = torch.isin(positions, self._shown).nonzero().flatten()
        if len(rows):
            logits = outputs[rows.to(outputs.device)]
            self._answers.append((positions[rows], logits.float().softmax(dim=1).cpu()))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws the chosen images with the answers to them."""
        if self._answers:
            self._drawn = trainer.current_epoch + 1
            positions, probabilities = (torch.cat(parts) for parts in zip(*self._answers, strict=True))
            picture = self.draw_samples(positions, probabilities)
            self.logger.log_picture("predictions/validation_images", picture, self._drawn)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts."""
        self._epoch = trainer.current_epoch + 1

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The filters of the network that was tested, and which classes it takes for each other."""
        if not trainer.is_global_zero or not self.logger.pictures:
            return
        self._log_filters(pl_module.network)  # type: ignore[arg-type]
        outputs: list[tuple[Tensor, Tensor]] = pl_module.test_outputs  # type: ignore[assignment]
        logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        self.logger.log_picture("predictions/confusion_matrix", self.draw_confusions(logits, labels), self._epoch)

    def _log_filters(self, network: nn.Module) -> None:
        """Draws the weights of the first convolution; a network may have none."""
        if (layer := first_convolution(network)) is not None:
            picture = self.draw_filters(layer.weight.detach().float().cpu())
            self.logger.log_picture("filters/first_convolution", picture, self._epoch)

    def _log_graph(self, network: nn.Module) -> None:
        image = torch.zeros(1, *self.image_shape)
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
                warnings.simplefilter("ignore")  # tracing is deprecated, and TensorBoard knows nothing else
                traced = torch.jit.trace(copy.deepcopy(network).cpu().eval(), image, check_trace=False)
                self.logger.experiment.add_graph(traced, image)
        except Exception as error:  # whatever a network raises that is not made for it
            log.info("TensorBoard gets no graph: this network cannot be traced (%s).", first_line(error))


def first_convolution(network: nn.Module) -> nn.Conv2d | None:
    """The convolution that sees the image, by the order in which layers are made; None where there is none."""
    return next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
