"""Load a trained network and classify images with it: `load("best.ckpt").predict(images)`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cnnlab.arguments import check_arguments
from cnnlab.build.network import NoRandomWeights, build_network
from cnnlab.data.normalization import Normalization
from cnnlab.data.pictures import Picture, read_picture
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.limits import Device
from cnnlab.runs.checkpoint import check_weights_match, network_description, network_weights, read_checkpoint
from cnnlab.runs.directory import checkpoint_file
from cnnlab.training.precision import auto_precision, device_type

Pictures = Picture | Iterable[Picture]
Precision = Literal["auto", "32-true", "bf16-mixed"]
BATCH_SIZE = 256


@dataclass(frozen=True)
class Predictions:
    """Hold the predictions for some images."""

    logits: Tensor  # float32 (N, classes), on the CPU
    classes: tuple[str, ...]  # names by class number

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def probabilities(self) -> Tensor:
        """Return the softmax of the logits, float32 (N, classes)."""
        return self.logits.softmax(dim=1)

    @property
    def numbers(self) -> Tensor:
        """Return the number of the most probable class of each image, int64 (N,)."""
        return self.logits.argmax(dim=1)

    @property
    def names(self) -> list[str]:
        """Return the name of the most probable class of each image."""
        return [self.classes[number] for number in self.numbers]

    @property
    def confidences(self) -> Tensor:
        """Return the probability of the most probable class of each image, float32 (N,)."""
        return self.probabilities.amax(dim=1)

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """Return the most probable classes of each image with their probabilities, most probable first."""
        values, numbers = self.probabilities.topk(min(count, len(self.classes)), dim=1)
        return [
            [(self.classes[number], value) for number, value in zip(*row, strict=True)]
            for row in zip(numbers.tolist(), values.tolist(), strict=True)
        ]


class TrainedNetwork:
    """Trained network with the preprocessing that it needs; returned by `load`."""

    def __init__(
        self, network: nn.Module, about: dict[str, Any], device: torch.device, precision: str, checkpoint: Path
    ):
        self.network = network.to(device).eval()  # maps normalized images (N, C, H, W) to logits (N, classes)
        self.classes: tuple[str, ...] = tuple(about["classes"])  # names by class number
        self.image_size: int = about["image_size"]  # height and width in pixels to which images are resized
        self.mean, self.std = torch.tensor(about["mean"]), torch.tensor(about["std"])  # by channel, of pixels in [0, 1]
        self.model: dict[str, Any] = about["model"]  # configuration of the network, `_target_` and options
        self.data_fingerprint: str = about["data_fingerprint"]  # of the training data
        self.device, self.precision = device, precision  # `32-true` or `bf16-mixed`
        self.checkpoint = checkpoint  # file that the network was loaded from
        self.temperature = 1.0  # by which logits are divided; `load` changes it with `calibrated=True`
        self.normalize = Normalization(self.mean, self.std, self.image_size, device)

    def predict(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Predictions:
        """Classify one image or several.

        Args:
            images: a path, bytes of a file, PIL image, array or tensor (see `cnnlab.data.pictures.read_picture`); an
                iterable of these; or an array (N, H, W, C) or tensor (N, C, H, W).
            batch_size: images per forward pass, 1 or more.

        Raises:
            UnreadablePicture: if an image cannot be read.
            ValueError: for an array or tensor of a wrong shape, type or range, or a wrong batch size.
        """
        batches = [predictions.logits for predictions in self.stream(images, batch_size)]
        return Predictions(torch.cat(batches) if batches else torch.empty(0, len(self.classes)), self.classes)

    def stream(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Iterator[Predictions]:
        """Classify any number of images batch by batch, in constant memory; arguments as in `predict`."""
        for pixels in self._batches(images, batch_size):
            yield Predictions(self.logits(pixels), self.classes)

    def embed(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Tensor:
        """Return the inputs of the last layer, float32 (N, features), on the CPU; arguments as in `predict`.

        The last layer is the last module with weights that the network calls. Feature maps are averaged over height and
        width. Images that the network finds similar have similar features.
        """
        batches = [self.logits_and_features(pixels)[1] for pixels in self._batches(images, batch_size)]
        return torch.cat(batches) if batches else torch.empty(0, 0)

    def read(self, picture: Picture) -> Tensor:
        """Read an image as RGB in the network's size: uint8 (image_size, image_size, 3)."""
        return read_picture(picture, self.image_size)

    def logits(self, pixels: Tensor) -> Tensor:
        """Compute logits, float32 (N, classes) on the CPU, from pixels, uint8 (N, image_size, image_size, 3).

        Raises:
            RequestError: if the outputs are not finite.
        """
        with self.computing():
            logits = self.network(self.normalize(pixels.to(self.device))).float().cpu() / self.temperature
        if not logits.isfinite().all():
            raise RequestError(f"checkpoint: {self.checkpoint} gives outputs that are not finite: it may have diverged")
        return logits

    def logits_and_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits as in `logits`, and the inputs of the last layer, float32 (N, features)."""
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[:] = [value for value in inputs if isinstance(value, Tensor)][:1]

        layers = [m for m in self.network.modules() if next(m.parameters(recurse=False), None) is not None]
        handles = [layer.register_forward_pre_hook(keep) for layer in layers]
        try:
            logits = self.logits(pixels)
        finally:
            for handle in handles:
                handle.remove()
        features = seen[0].float()
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return logits, features.flatten(1).cpu()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute without gradients and in the network's precision."""
        in_bf16 = self.precision == "bf16-mixed"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=in_bf16):
            yield

    def _batches(self, images: Pictures, batch_size: int) -> Iterator[Tensor]:
        """Yield batches of pixels, uint8 (B, image_size, image_size, 3)."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        pictures = enumerate(_each(images), start=1)
        while batch := [self._read_named(picture, number) for number, picture in islice(pictures, batch_size)]:
            yield torch.stack(batch)

    def _read_named(self, picture: Picture, number: int) -> Tensor:
        """Read an image as in `read`; name the image in an error."""
        try:
            return self.read(picture)
        except ValueError as error:  # an UnreadablePicture is one
            name = picture if isinstance(picture, str | Path) else f"image {number}"
            raise type(error)(f"{name}: {error}") from None


def load(
    checkpoint: str | Path,
    device: Device = "auto",
    precision: Precision = "auto",
    trust: str | list[str] | None = None,
    calibrated: bool = False,
) -> TrainedNetwork:
    """Load a trained network.

    Args:
        checkpoint: a file that cnnlab wrote, or a run directory for the checkpoint of its best epoch. A checkpoint from
            a stranger cannot run code: only tensors and plain values are read, and the network that it names must be
            one of cnnlab's, or named in `conf/` of the working directory, or in `trust`.
        device: `auto` for a GPU if there is one, else the CPU; or a name such as `cpu`, `cuda` or `cuda:1`.
        precision: `32-true`, `bf16-mixed`, or `auto` for the faster one on that device.
        trust: modules, or full names of networks, that the checkpoint may name too, such as `mynet`.
        calibrated: whether to divide the logits by the temperature that `cnnlab evaluate calibrate=save` has found.

    Raises:
        RequestError: if there is no such checkpoint or device, the checkpoint is damaged, unsafe, or not cnnlab's, or
            it has no temperature.
    """
    check_arguments(load, {"precision": precision})
    path = checkpoint_file(checkpoint)
    content = read_checkpoint(path, "checkpoint")
    about = network_description(content, path, trust)
    if calibrated and about["temperature"] is None:
        raise RequestError(
            f"calibrated: {path} has no temperature; cnnlab evaluate checkpoint=... calibrate=save adds it"
        )
    try:
        _check_without_memory(content, about, path)
        network = build_network(about["model"], len(about["classes"]), about["image_size"])
        check_weights_match(content, network, path, "checkpoint")
        network.load_state_dict(network_weights(content))
        _check_finite(network, path)
    except RequestError:
        raise
    except Exception as error:  # a network may raise anything for a wrong option
        raise RequestError(f"checkpoint: the network of {path} cannot be built ({first_line(error)})") from None
    chosen = _device(device)
    if precision == "auto":
        precision = "bf16-mixed" if auto_precision(str(chosen)) == "bf16-mixed" else "32-true"
    net = TrainedNetwork(network, about, chosen, precision, path)
    net.temperature = about["temperature"] if calibrated else 1.0
    return net


def _check_finite(network: nn.Module, path: Path) -> None:
    """Refuse weights that are not finite; buffers may hold infinities, as in masks."""
    wrong = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
    wrong += [name for name, buffer in network.named_buffers() if buffer.isnan().any()]
    if wrong:
        raise RequestError(
            f"checkpoint: {path} is damaged, or its training has diverged: {wrong[0]} holds values that are not finite"
        )


def _check_without_memory(content: dict[str, Any], about: dict[str, Any], path: Path) -> None:
    """Check that the network has the weights of the checkpoint before memory is taken for it, if it can be known."""
    try:
        with torch.device("meta"), NoRandomWeights():
            network = build_network(about["model"], len(about["classes"]), about["image_size"])
    except Exception:  # it computes with values, or the description is wrong, which is explained later
        return
    check_weights_match(content, network, path, "checkpoint")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device(device_type("auto"))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise RequestError(f"device: {name!r} is not a device of this machine; auto, cpu or cuda") from None
    return device


def _each(images: Pictures) -> Iterable[Picture]:
    """Return an iterable of single images."""
    if isinstance(images, str | Path | bytes | Image.Image):
        return [images]
    if isinstance(images, Tensor | np.ndarray):
        return images if images.ndim == 4 else [images]
    return images
