"""Start a training from the weights of a file: a checkpoint of cnnlab, or any file of tensors by name."""

import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cnnlab.build.network import Settings, build_network
from cnnlab.errors import RequestError
from cnnlab.runs.checkpoint import read_weights
from cnnlab.runs.directory import checkpoint_file
from cnnlab.training.layer_order import head_names

SOME = 10  # classes, while those of the images are not known
NAMES_SHOWN = 3  # layers in a line; more are counted


class StartingWeights:
    """Weights of a file, to be loaded into a network.

    Args:
        weights: the file, or a run directory for its best epoch. It may come from a stranger: no code of it runs.

    Raises:
        RequestError: if there is no such file, it is damaged, or would run code.
    """

    def __init__(self, weights: str):
        self.path = checkpoint_file(weights, "weights")
        self.tensors, self.classes = read_weights(self.path)
        self.note = ""  # what was loaded, after `load`

    @torch.no_grad()
    def load(self, network: nn.Module, classes: Sequence[str] | int) -> None:
        """Load what fits by name and shape into a network.

        A file for other classes (names in order, or their number) leaves the head as it is. The first convolution is
        adapted if it has another number of input channels. Position embeddings of timm's networks are resampled for
        another image size.

        Raises:
            RequestError: if less than half of the file's weights fits, the head not counted.
        """
        number = classes if isinstance(classes, int) else len(classes)
        own = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
        given, head = _without_prefix(self.tensors, own), head_names(network, number)
        others = not isinstance(classes, int) and self.classes is not None and self.classes != list(classes)
        fitting = {name: given[name] for name in own if name in given and not (others and name in head)}
        stem = next((name for name, weight in network.named_parameters() if weight.ndim == 4), "")
        resampled = _resampled_by_timm(network, given, own)
        fitting |= resampled
        adapted = f"; resampled for this image size: {_layers(list(resampled))}" if resampled else ""
        if stem in fitting and fitting[stem].ndim == 4 and fitting[stem].shape[1] != own[stem].shape[1]:
            adapted += f"; adapted: {_layers([stem])} from {fitting[stem].shape[1]} to {own[stem].shape[1]} channels"
            fitting[stem] = with_channels(fitting[stem], own[stem].shape[1])
        fitting = {name: value for name, value in fitting.items() if value.shape == own[name].shape}
        in_file = sum(value.numel() for name, value in given.items() if name not in head)
        used = sum(given[name].numel() for name in fitting if name not in head)
        if not fitting or used < in_file / 2:
            raise RequestError(
                f"weights: {self.path} is of another network: only {used:,} of its {in_file:,} weights fit by name "
                "and shape"
            )
        for name, value in fitting.items():
            own[name].copy_(value)
        counts = {name: weight.numel() for name, weight in network.named_parameters()}
        loaded = sum(count for name, count in counts.items() if name in fitting)
        self.note = (
            f"{loaded:,} of {sum(counts.values()):,} weights are from {self.path}{adapted}; "
            f"new: {_layers([name for name in counts if name not in fitting])}; "
            f"left in the file: {_layers([name for name in given if name not in fitting])}"
        )


def read_start(weights: str | None, model: Settings, image_size: int) -> StartingWeights | None:
    """Read the weights that a new run starts from, before its images; None if it starts from the network's own.

    Pretrained weights of a library are downloaded now.

    Raises:
        RequestError: if they cannot be had, or do not fit the network.
    """
    if weights and model.get("pretrained"):
        raise RequestError("weights: model.pretrained=true loads weights too; leave one of them out")
    if model.get("pretrained"):
        build_network(model, SOME, image_size)
    if not weights:
        return None
    start = StartingWeights(weights)
    classes = len(start.classes or range(SOME))
    try:
        with torch.device("meta"):
            network = build_network(model, classes, image_size)
    except Exception:  # it computes with values, or the request is wrong, which is explained later
        return start
    start.load(network, classes)
    return start


def with_channels(filters: Tensor, channels: int) -> Tensor:
    """Return filters (F, C, H, W) for another number of channels: summed for one, else repeated and scaled.

    From one channel or to one, an image whose channels are alike has the same response as before.
    """
    if channels == 1:
        return filters.sum(dim=1, keepdim=True)
    repeated = filters.repeat(1, -(-channels // filters.shape[1]), 1, 1)[:, :channels]
    return repeated * (filters.shape[1] / channels)


def _resampled_by_timm(network: nn.Module, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of another shape that timm brings to that of this network, such as position embeddings."""
    module = sys.modules[type(network).__module__]
    resample = getattr(module, "checkpoint_filter_fn", None) if module.__name__.startswith("timm.") else None
    others = [name for name in own if name in given and given[name].shape != own[name].shape]
    if resample is None or not others:
        return {}
    try:
        found = resample(dict(given), network)
    except Exception:  # weights of another network, which are refused later or named as new
        return {}
    return {name: found[name] for name in others if name in found and found[name].shape == own[name].shape}


def _without_prefix(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights without what a wrapper, such as a LightningModule, has put before all names."""
    prefixes = dict.fromkeys(["", *(f"{name.partition('.')[0]}." for name in given)])
    cut = [{name[len(p) :]: value for name, value in given.items() if name.startswith(p)} for p in prefixes]
    return max(cut, key=lambda weights: len(own.keys() & weights.keys()))


def _layers(names: Sequence[str]) -> str:
    """Return the layers of weights in words: `conv1, fc and 3 more`."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = f" and {len(layers) - NAMES_SHOWN} more" if len(layers) > NAMES_SHOWN else ""
    return (", ".join(layers[:NAMES_SHOWN]) or "nothing") + more
