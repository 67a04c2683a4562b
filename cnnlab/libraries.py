"""Make networks of timm and torchvision by name, such as `model=timm model.name=convnext_atto`."""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.waiting import tell
from cnnlab.words import did_you_mean


def timm_network(
    name: str,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Return a classifier of timm (needs `pip install 'cnnlab[timm]'`) with options of this network, as `drop_rate`.

    Args:
        name: one of `timm.list_models()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, for networks whose weights depend on it.
        pretrained: True downloads timm's pretrained weights; the last layer is initialized randomly.

    Raises:
        ValueError: for an unknown name or option.
        RequestError: if timm is not installed, or if the weights cannot be downloaded.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise RequestError("model=timm needs a package: pip install 'cnnlab[timm]'") from None
    if not timm.is_model(name):
        raise ValueError(f"name {name} is not a network of timm{did_you_mean(name, timm.list_models())}")
    if pretrained:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a line for each of its many attempts
        tell(f"Downloading the weights of {name}")
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:
        options = {"img_size": image_size, **options}
    try:
        with _options_explained(name):
            return timm.create_model(
                name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **options
            )
    except OSError as error:
        raise RequestError(_unreachable(name, error)) from None


def torchvision_network(
    name: str, num_classes: int = 10, image_size: int = 32, pretrained: bool = False, **options: Any
) -> nn.Module:
    """Return a classifier of torchvision, for RGB images.

    GoogLeNet and Inception v3 are made without their auxiliary outputs.

    Args:
        name: one of `torchvision.models.list_models(module=torchvision.models)`.
        num_classes: number of logits.
        image_size: height and width of the images in pixels, for networks whose weights depend on it.
        pretrained: True downloads torchvision's pretrained weights; the last layer is initialized randomly.
        options: further arguments of the network, such as `dropout`.

    Raises:
        ValueError: for an unknown name or option, or pretrained weights for another image size.
        RequestError: if the weights cannot be downloaded.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"name {name} is not a classifier of torchvision{did_you_mean(name, known)}")
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True, **options}
    if name.startswith("vit_"):
        options = {"image_size": image_size, **options}
    if name == "maxvit_t":
        options = {"input_size": (image_size, image_size), **options}
    with _options_explained(name):
        network = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if pretrained:
        tell(f"Downloading the weights of {name}")
        try:
            weights = models.get_model_weights(name)["DEFAULT"].get_state_dict(progress=False, check_hash=True)
        except OSError as error:
            raise RequestError(_unreachable(name, error)) from None
        own = network.state_dict()
        fitting = {key: weights[key] for key in own if key in weights and weights[key].shape == own[key].shape}
        others = [key for key in own if key not in fitting and not (own[key].ndim and len(own[key]) == num_classes)]
        if others:
            raise ValueError(f"pretrained: the weights of {name} are for other images or options ({others[0]} differs)")
        network.load_state_dict(fitting, strict=False)
    return network


def _unreachable(name: str, error: OSError) -> str:
    reason = f"the weights of {name} cannot be loaded ({first_line(error)})"
    return f"model.pretrained: {reason}; weights=FILE starts from a file on this machine"


@contextlib.contextmanager
def _options_explained(name: str) -> Iterator[None]:
    """Turn a library's error about an option into a ValueError."""
    try:
        yield
    except (TypeError, AssertionError, RuntimeError) as error:
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            raise ValueError(f"{match[1]} is not an option of {name}") from None
        raise ValueError(f"{name} cannot be made with these options ({first_line(error)})") from None
