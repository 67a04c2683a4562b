"""Log to TensorBoard: metrics by epoch, pictures, and the row of the run in the HParams tab."""

import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from cnnlab.files import replacing
from cnnlab.limits import Whole


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
    def log_outcome(self, settings: Mapping[str, Any], results: Mapping[str, float], epoch: int) -> None:
        """Log the run's row for the HParams tab: settings and results, by name; and close the file.

        Results are columns like settings: as metrics they would be charts of a single point each. Does not define the
        tab's columns: TensorBoard would take them from one run and hide those that only other runs have. Whoever opens
        several runs defines the columns.
        """
        from torch.utils.tensorboard.summary import hparams

        self._forget_outcome()
        _, start, end = hparams({**settings, **results}, {})
        for summary in (start, end):
            self.experiment._get_file_writer().add_summary(summary, epoch)
        self.experiment.close()

    def _forget_outcome(self) -> None:
        """Remove the row that a run has logged which goes on now: TensorBoard shows the first row that it reads."""
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
        from tensorboard.summary.writer.record_writer import RecordWriter

        for file in Path(self.log_dir).glob("events.out.tfevents.*"):
            records = list(RawEventFileLoader(str(file)).Load())
            kept = [record for record in records if SESSION_START_INFO_TAG.encode() not in record]
            if len(kept) < len(records):
                with replacing(file) as temporary, temporary.open("wb") as written:
                    writer = RecordWriter(written)
                    for record in kept:
                        writer.write(record)

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
