"""Hold networks and data as users write them, with a mistake; `cnnlab train` takes them by `_target_`.

A network here is one of cnnlab's, named by `base`, with something done to it; `options` are those of the base.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import Images
from cnnlab.data.loader import EpochOrder, Loader
from cnnlab.instantiate import import_target


def plain(base: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """Make one of cnnlab's networks."""
    return import_target(base, "model.base")(num_classes=num_classes, **options)


def _layers(network: nn.Module) -> list[Any]:
    """Return convolutions and linear layers, from the input on."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def softmax(base: str, num_classes: int, sharpness: float = 1.0, **options: Any) -> nn.Module:
    """End in a softmax, before a loss that has its own."""
    return nn.Sequential(plain(base, num_classes, options), _Times(sharpness), nn.Softmax(dim=1))


class _Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor


def frozen(base: str, num_classes: int, share: float, **options: Any) -> nn.Module:
    """Leave the first layers, a share of all, without gradients, as when somebody forgot to unfreeze them."""
    network = plain(base, num_classes, options)
    layers = _layers(network)
    for layer in layers[: max(1, round(share * len(layers)))]:
        layer.requires_grad_(False)
    return network


def detached(base: str, num_classes: int, share: float, **options: Any) -> nn.Module:
    """Cut the gradients behind the first layers, a share of all, as a stray `.detach()` does."""
    network = plain(base, num_classes, options)
    layers = _layers(network)
    layers[max(1, round(share * len(layers))) - 1].register_forward_hook(_cut)
    return network


def _cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.detach()


def scaled(base: str, num_classes: int, gain: float, **options: Any) -> nn.Module:
    """Start with weights that are too large or too small by a factor, in all layers but the last."""
    network = plain(base, num_classes, options)
    with torch.no_grad():
        for layer in _layers(network)[:-1]:
            layer.weight.mul_(gain)
    return network


def dead(base: str, num_classes: int, share: float, **options: Any) -> nn.Module:
    """Start with biases of the hidden layers so low that a share of their ReLUs never answers."""
    network = plain(base, num_classes, options)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in norms or _layers(network)[:-1]:
            layer.bias[: round(share * len(layer.bias))] = -100.0
    return network


def slow_statistics(base: str, num_classes: int, momentum: float, **options: Any) -> nn.Module:
    """Let the running statistics of batch norm follow too slowly."""
    network = plain(base, num_classes, options)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = momentum
    return network


class LowPrecision(nn.Module):
    """Keep the weights in bfloat16, so that small updates are rounded away."""

    def __init__(self, base: str, options: dict[str, Any], num_classes: int = 10):
        super().__init__()
        self.network = plain(base, num_classes, options).bfloat16()

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits."""
        return self.network(images.bfloat16()).float()


def low_precision(base: str, num_classes: int, **options: Any) -> nn.Module:
    """Keep the weights in bfloat16."""
    return LowPrecision(base, options, num_classes)


@dataclass(eq=False)
class Buffered(EpochOrder):
    """Take the images in the data's order, drawn from a buffer of some images, as streaming loaders do."""

    buffer: int = 1

    def positions(self) -> Tensor:
        """Return the order of an epoch."""
        return torch.tensor(list(self._drawn(torch.Generator().manual_seed(self.seed + self.epoch))))

    def _drawn(self, generator: torch.Generator) -> Iterator[int]:
        held = list(range(min(self.buffer, self.images)))
        for following in range(len(held), self.images):
            place = int(torch.randint(len(held), (), generator=generator))
            yield held[place]
            held[place] = following
        yield from (held[place] for place in torch.randperm(len(held), generator=generator).tolist())


class Unshuffled(ImageDataModule):
    """Serve the training images sorted by class, as a folder lists them, through a buffer that is a share of them."""

    def __init__(self, buffer: float = 0.0, **options: Any):
        super().__init__(**options)
        self.buffer = buffer
        self.train = self.train.take(self.train.labels.argsort(stable=True))

    def train_dataloader(self) -> Loader:
        """Return batches in that order."""
        loader = super().train_dataloader()
        images = len(self.train)
        loader.sampler = Buffered(images, True, self.seed, buffer=max(1, round(self.buffer * images)))
        return loader


class Imbalanced(ImageDataModule):
    """Keep all images of the first class, and a share of the others, in every split."""

    def __init__(self, share: float, **options: Any):
        super().__init__(**options)
        self.train, self.val, self.test = (self._thinned(images, share) for images in (self.train, self.val, self.test))

    def _thinned(self, images: Images, share: float) -> Images:
        chosen = torch.rand(len(images), generator=torch.Generator().manual_seed(0)) < share
        for number in range(1, len(self.classes)):
            chosen[(images.labels == number).nonzero()[0]] = True
        return images.take((chosen | (images.labels == 0)).nonzero().flatten())


class Upside(nn.Module):
    """Turn half of the images upside down, and mirror half of them, in a batch (B, C, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the changed images."""
        for axis in (2, 3):
            chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
            images = torch.where(chosen, images.flip(axis), images)
        return images


class Missing(nn.Module):
    """Set a share of the images, or one channel, to a constant, as a broken reader does."""

    def __init__(self, share: float = 1.0, what: Literal["image", "channels"] = "image"):
        super().__init__()
        self.share, self.what = share, what

    def forward(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) of which some are black."""
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < self.share
        return torch.where(chosen, torch.zeros_like(images), images)


Network = Callable[..., nn.Module]
