"""Make networks from their settings (the configuration of a model as plain values), and list their layers."""

import inspect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from cnnlab.errors import RequestError
from cnnlab.inspection.cost import Cost, empty_image, measure_cost, run_image
from cnnlab.inspection.layers import LayerTable, tabulate
from cnnlab.instantiate import build, explained, import_target
from cnnlab.limits import Count, Pixels

Settings = Mapping[str, Any]

MANY = 10_000_000  # weights of a tensor that is not filled with zeros, to save time and memory
RANDOM = (
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
)
CHANNELS = 3  # all images are converted to RGB


def build_network(model: Settings, classes: int, image_size: int = 32, channels: int = CHANNELS) -> nn.Module:
    """Make a network from `_target_` and options. Lazy layers get their weights.

    It gets `num_classes`, `image_size` (height and width in pixels) and `in_channels` if it has such arguments.

    Raises:
        RequestError: if the network cannot be made.
    """
    with explained("model", model, Exception):
        network = build_knowing(model, "model", in_channels=channels, num_classes=classes, image_size=image_size)
    if not isinstance(network, nn.Module):
        raise RequestError(f"model._target_: {model['_target_']} does not make a torch.nn.Module")
    network = getattr(network, "_orig_mod", network)  # of torch.compile; trainer.compile compiles
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise RequestError("model: a scripted or traced network cannot be inspected; return the plain module")
    with explained("model", errors=Exception):
        _fill_lazy_layers(network, (channels, image_size, image_size))
        for tensor in itertools.chain(network.parameters(), network.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def build_knowing(config: Settings, key: str, **known: Any) -> Any:
    """Build an object that gets those of the known values for which its `_target_` has arguments.

    An option of the configuration replaces a known value of the same name. `key` is the user's name for this part.
    """
    if isinstance(config, Mapping) and "_target_" in config:
        wanted = inspect.signature(import_target(config["_target_"], key)).parameters
        known = {name: value for name, value in known.items() if name in wanted and name not in config}
    return build(config, key, **known)


def _fill_lazy_layers(network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Let layers such as `nn.LazyConv2d` make their weights, which depend on their inputs."""

    def lazy_names() -> list[str]:
        named = itertools.chain(network.named_parameters(), network.named_buffers())
        return [name for name, tensor in named if is_lazy(tensor)]

    if lazy_names():
        run_image(network, empty_image(network, image_shape))
        if left := lazy_names():
            raise ValueError(f"{left[0]} has no shape: no image reaches this lazy layer")


def check_image_shape(network: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Cost:
    """Check that a network accepts images of a shape (C, H, W), and return its cost on one of them.

    Raises:
        RequestError: if the network does not accept such images, or has another number of classes.
    """
    with explained("model", errors=Exception):
        cost = measure_cost(network, image_shape)
        if cost.outputs != classes:
            raise ValueError(f"the network has {cost.outputs} classes, the data have {classes}")
    return cost


@dataclass(frozen=True)
class DescribedImages:
    """Height and width (in pixels), channels and number of classes of the images that a network is described for."""

    image_size: Pixels
    channels: Pixels
    classes: Count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return self.channels, self.image_size, self.image_size


class NoRandomWeights(TorchFunctionMode):
    """Leaves out the random numbers that weights start with, while networks are made for their shapes or for others.

    Large tensors stay as the system gives them: zeros that take memory only when they are written to.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, but none that fills a tensor at random."""
        kwargs = kwargs or {}
        if func in RANDOM:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.numel() <= MANY:
                tensor.detach().zero_()
            return tensor
        return func(*args, **kwargs)


def tabulate_network(model: Settings, images: DescribedImages) -> LayerTable:
    """List the layers of a network, without its random weights.

    Raises:
        RequestError: if the network cannot be made, or does not accept the images.
    """
    with NoRandomWeights():
        network = build_network(model, images.classes, images.image_size, images.channels)
    check_image_shape(network, images.shape, images.classes)
    with explained("model", errors=Exception):
        return tabulate(network, images.shape)


def map_sizes(model: Settings, images: DescribedImages) -> list[int]:
    """Return the heights of the feature maps after each convolution and pooling; equal neighbours once."""
    heights = (layer.sides[0] for layer in tabulate_network(model, images).layers if layer.window and layer.sides)
    return [height for height, _ in itertools.groupby(heights)]
