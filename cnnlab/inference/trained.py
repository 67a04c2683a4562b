"""The door to a trained network: `load("best.ckpt").predict(images)`."""

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

from cnnlab.build.network import build_network
from cnnlab.data.normalization import Normalization
from cnnlab.data.pictures import Picture, read_picture
from cnnlab.errors import RequestError
from cnnlab.instantiate import check_arguments, first_line
from cnnlab.runs.checkpoint import check_weights_match, network_description, network_weights, read_checkpoint
from cnnlab.runs.directory import RunDirectory
from cnnlab.training.precision import auto_precision, device_type

Pictures = Picture | Iterable[Picture]
Precision = Literal["auto", "32-true", "bf16-mixed"]
BATCH_SIZE = 256


@dataclass(frozen=True)
class Predictions:
    """What a network says about some images.

    Attributes:
        logits: float32 (N, classes), on the CPU.
        classes: names by class number.
    """

    logits: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits, float32 (N, classes)."""
        return self.logits.softmax(dim=1)

    @property
    def numbers(self) -> Tensor:
        """The most probable class of each image, int64 (N,)."""
        return self.logits.argmax(dim=1)

    @property
    def names(self) -> list[str]:
        """The name of the most probable class of each image."""
        return [self.classes[number] for number in self.numbers]

    @property
    def confidences(self) -> Tensor:
        """The probability of each image's most probable class, float32 (N,)."""
        return self.probabilities.amax(dim=1)

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """For each image the most probable classes with their probabilities, the most probable first."""
        values, numbers = self.probabilities.topk(min(count, len(self.classes)), dim=1)
        return [
            [(self.classes[number], value) for number, value in zip(*row, strict=True)]
            for row in zip(numbers.tolist(), values.tolist(), strict=True)
        ]


class TrainedNetwork:
    """A network with its weights, and all that it takes to show it an image; made by `load`.

    Attributes:
        network: normalized images (N, C, H, W) to logits (N, classes), in evaluation mode.
        classes: names by class number.
        image_size: height and width in pixels that images are brought to.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        model: the configuration that it was made from, `_target_` and options.
        data_fingerprint: of the data that it was trained on.
        device: where it computes.
        precision: `32-true` or `bf16-mixed`.
        checkpoint: the file that it was loaded from.
    """

    def __init__(
        self, network: nn.Module, about: dict[str, Any], device: torch.device, precision: str, checkpoint: Path
    ):
        self.network = network.to(device).eval()
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.image_size: int = about["image_size"]
        self.mean, self.std = torch.tensor(about["mean"]), torch.tensor(about["std"])
        self.model: dict[str, Any] = about["model"]
        self.data_fingerprint: str = about["data_fingerprint"]
        self.device, self.precision, self.checkpoint = device, precision, checkpoint
        self.normalize = Normalization(self.mean, self.std, self.image_size, device)

    def predict(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Predictions:
        """Classifies one image or several.

        Args:
            images: a path, bytes of a file, PIL image, array or tensor (see `cnnlab.data.pictures.read_picture`), or a
                list or other iterable of them, or an array (N, H, W, C) or tensor (N, C, H, W).
            batch_size: images that are held and computed at a time.

        Raises:
            UnreadablePicture: when one cannot be read.
            ValueError: for an array or tensor of another shape, type or range, or a batch of no image.
        """
        batches = [predictions.logits for predictions in self.stream(images, batch_size)]
        return Predictions(torch.cat(batches) if batches else torch.empty(0, len(self.classes)), self.classes)

    def stream(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Iterator[Predictions]:
        """Classifies any number of images batch by batch, in constant memory; as `predict` otherwise."""
        for pixels in self._batches(images, batch_size):
            yield Predictions(self.logits(pixels), self.classes)

    def embed(self, images: Pictures, batch_size: int = BATCH_SIZE) -> Tensor:
        """What the last layer sees of each image: float32 (N, features), on the CPU; arguments as in `predict`.

        It is the input of the last layer with weights that the network calls; maps are averaged over height and width.
        Images that look alike to the network lie near each other.
        """
        batches = [self.logits_and_features(pixels)[1] for pixels in self._batches(images, batch_size)]
        return torch.cat(batches) if batches else torch.empty(0, 0)

    def read(self, picture: Picture) -> Tensor:
        """An image brought to RGB and the network's size: uint8 (image_size, image_size, 3)."""
        return read_picture(picture, self.image_size)

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, classes) on the CPU, of a batch of uint8 pixels (N, image_size, image_size, 3)."""
        with self.computing():
            return self.network(self.normalize(pixels.to(self.device))).float().cpu()

    def logits_and_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of a batch as `logits` gives them, and what the last layer saw, float32 (N, features)."""
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
        """Nothing is kept for gradients, and numbers have the network's precision."""
        in_bf16 = self.precision == "bf16-mixed"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=in_bf16):
            yield

    def _batches(self, images: Pictures, batch_size: int) -> Iterator[Tensor]:
        """uint8 (B, image_size, image_size, 3)."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        pictures = enumerate(_each(images), start=1)
        while batch := [self._read_named(picture, number) for number, picture in islice(pictures, batch_size)]:
            yield torch.stack(batch)

    def _read_named(self, picture: Picture, number: int) -> Tensor:
        """As `read`; an error says which of the images it is about."""
        try:
            return self.read(picture)
        except ValueError as error:  # an UnreadablePicture is one
            name = picture if isinstance(picture, str | Path) else f"image {number}"
            raise type(error)(f"{name}: {error}") from None


def load(checkpoint: str | Path, device: str = "auto", precision: Precision = "auto") -> TrainedNetwork:
    """Loads a trained network.

    Args:
        checkpoint: a file that cnnlab wrote, or a run directory, for the checkpoint of its best epoch. One from a
            stranger runs no code of theirs: only tensors and plain values are read, and what it names as its network
            must be one of cnnlab's or a `torch.nn.Module` that is installed here.
        device: `auto` takes a GPU where there is one; else a name such as `cpu`, `cuda` or `cuda:1`.
        precision: `32-true`, `bf16-mixed`, or `auto`, for the faster one on that device.

    Raises:
        RequestError: when there is no such checkpoint, it is damaged, no checkpoint of cnnlab or not safe to load, or
            the device is not there.
    """
    check_arguments(load, {"precision": precision})
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        path = RunDirectory(path).best_checkpoint
    content = read_checkpoint(path, "checkpoint")
    about = network_description(content, path)
    try:
        network = build_network(about["model"], len(about["classes"]), about["image_size"])
        check_weights_match(content, network, path, "checkpoint")
        network.load_state_dict(network_weights(content))
    except RequestError:
        raise
    except Exception as error:  # whatever a network raises for options that are not its own
        raise RequestError(f"checkpoint: the network of {path} cannot be made ({first_line(error)})") from None
    where = _device(device)
    if precision == "auto":
        precision = "bf16-mixed" if auto_precision(where.type) == "bf16-mixed" else "32-true"
    return TrainedNetwork(network, about, where, precision, path)


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
    """The images one by one."""
    if isinstance(images, str | Path | bytes | Image.Image):
        return [images]
    if isinstance(images, Tensor | np.ndarray):
        return images if images.ndim == 4 else [images]
    return images
