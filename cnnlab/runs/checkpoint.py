"""Reading checkpoints, including those of strangers: only tensors and plain values are ever loaded."""

import inspect
import pickle
import re
import reprlib
import struct
import sys
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line, fits, import_target

NETWORK_PREFIX = "network."  # of the network's weights among those of the LightningModule
# What a checkpoint says of its network and of the images that it takes.
DESCRIPTION = {
    "classes": list[str],
    "mean": list[float],
    "std": list[float],
    "image_size": int,
    "channels": int,
    "data_fingerprint": str,
    "model": dict,
}
LARGEST_IMAGE = 10_000  # pixels a side
# Functions that a checkpoint may name, beside classes of networks.
MAKERS = ("cnnlab.libraries.timm_network", "cnnlab.libraries.torchvision_network")
# What torch raises for pickles that are damaged.
DAMAGES = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error)


def read_checkpoint(path: Path, key: str = "resume") -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Args:
        path: of the file.
        key: what the user calls it, for messages.

    Raises:
        RequestError: where there is none, or it is damaged, or holds anything that would run code when loaded.
    """
    if not path.is_file():
        raise RequestError(f"{key}: there is no checkpoint {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles: they are read, or refused below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RequestError(f"{key}: {path} is not a checkpoint of tensors and plain values; it is not loaded") from None
    except DAMAGES as error:
        raise RequestError(f"{key}: {path} is damaged or not a checkpoint ({first_line(error)})") from None
    if not isinstance(checkpoint, dict) or "cnnlab" not in checkpoint:
        raise RequestError(f"{key}: {path} was not written by cnnlab")
    if not isinstance(checkpoint.get("state_dict"), dict):
        raise RequestError(f"{key}: {path} is damaged: it holds no weights")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The network's state dict (the averaged weights, where the recipe averages), with the versions of its modules."""
    state, start = checkpoint["state_dict"], len(NETWORK_PREFIX)
    weights = {name[start:]: state[name] for name in state if isinstance(name, str) and name.startswith(NETWORK_PREFIX)}
    if not (metadata := getattr(state, "_metadata", None)):
        return weights
    weights = OrderedDict(weights)  # plain dictionaries have no attributes
    versions = {name[start:]: value for name, value in metadata.items() if f"{name}.".startswith(NETWORK_PREFIX)}
    weights._metadata = versions  # pyright: ignore[reportAttributeAccessIssue]
    return weights


def network_description(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a checkpoint says of its network and of the images that it takes, checked, as anybody may have written it.

    Args:
        checkpoint: its content.
        path: its file, for messages.

    Returns:
        The keys of `DESCRIPTION`. To make `model` calls nothing but a network, and reads no weights from elsewhere.

    Raises:
        RequestError: when one is missing or cannot be right, or `model` names anything but a network.
    """
    about = read_description(checkpoint, path)
    return about | {"model": _safe_model(about["model"], path)}


def read_description(checkpoint: dict[str, Any], path: Path, key: str = "checkpoint") -> dict[str, Any]:
    """The same for a network that is made from elsewhere: whatever `model` names is not looked at.

    Args:
        checkpoint: its content.
        path: its file, for messages.
        key: what the user calls it, for messages.

    Raises:
        RequestError: when one is missing or cannot be right.
    """
    about = checkpoint["cnnlab"]
    for name, kind in DESCRIPTION.items():
        value = about.get(name) if isinstance(about, dict) else None
        if not fits(value, kind) or not _possible(name, value):
            raise RequestError(f"{key}: {path} is damaged: its {name} cannot be {reprlib.repr(value)}")
    return {name: about[name] for name in DESCRIPTION}


def _possible(key: str, value: Any) -> bool:
    """Whether a value of the right type is in its range."""
    if key in ("mean", "std"):
        numbers = len(value) == 3 and all(abs(number) < 1e6 for number in value)  # neither infinite nor NaN
        return numbers and (key == "mean" or min(value) > 0)
    if key == "image_size":
        return 1 <= value <= LARGEST_IMAGE
    return value == 3 if key == "channels" else len(value) > 0


def _safe_model(model: dict[str, Any], path: Path) -> dict[str, Any]:
    """The configuration of a network. It names what makes the network: a stranger's could name `os.system`."""
    target = model.get("_target_")
    options = {key: value for key, value in model.items() if key != "_target_"}
    if not (isinstance(target, str) and _is_plain(options) and _makes_networks(target)):
        raise RequestError(f"checkpoint: {path} names {reprlib.repr(model)} as its network, which is none; not loaded")
    # The weights are in the checkpoint: none are downloaded, nor read from the file that training started from.
    return model | {key: value for key, value in {"pretrained": False, "checkpoint_path": None}.items() if key in model}


def _makes_networks(target: str) -> bool:
    """Whether a dotted name is that of a class of networks, or of a function of ours that makes some.

    Only the whole name says that: a module of ours gives access to those that it imports, and they to `os`.
    """
    if target in MAKERS:
        return True
    if re.split(r"[.:]", target)[0] in sys.stdlib_module_names:  # no networks there, and some do things when imported
        return False
    made = import_target(target, "checkpoint: model")
    return inspect.isclass(made) and issubclass(made, nn.Module)


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether a value is made of numbers, texts, lists and dictionaries, and names nothing that would be called."""
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(part, depth - 1) for part in value)
    if isinstance(value, dict):
        names = all(isinstance(key, str) and key != "_target_" for key in value)
        return depth > 0 and names and all(_is_plain(part, depth - 1) for part in value.values())
    return value is None or isinstance(value, bool | int | float | str)


def check_fits(checkpoint: dict[str, Any], network: nn.Module, path: Path, key: str = "resume") -> None:
    """Checks that the weights of a checkpoint have the names and shapes of a network's.

    Raises:
        RequestError: that names the first weight which differs.
    """
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {
        name: tuple(value.shape) if isinstance(value, Tensor) else "no tensor"
        for name, value in network_weights(checkpoint).items()
    }
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise RequestError(
                f"{key}: {path} holds another network: {name} is {theirs.get(name, 'missing')} there, "
                f"{ours.get(name, 'missing')} in this one"
            )


def check_images(about: dict[str, Any], classes: Sequence[str], fingerprint: str, path: Path) -> None:
    """Checks that images are those that a checkpoint was trained on: another split of others would test what was seen.

    Args:
        about: what the checkpoint says, as `read_description` gives it.
        classes: of the images here, by number.
        fingerprint: of the images here.
        path: its file, for messages.

    Raises:
        RequestError: where classes or fingerprint differ.
    """
    if list(classes) != about["classes"]:
        raise RequestError(f"resume: {path} was trained on other classes ({', '.join(about['classes'][:4])}, ...)")
    if same_images(fingerprint, about["data_fingerprint"]) is False:
        raise RequestError(
            f"resume: {path} was trained on other images (fingerprint {about['data_fingerprint']}) than those that are "
            f"there now ({fingerprint}); a run goes on with its own"
        )


def same_images(fingerprint: str, trained_on: str) -> bool | None:
    """Whether two fingerprints are of the same data; None where one is of pixels and the other of files."""
    comparable = fingerprint.startswith("files-") == trained_on.startswith("files-")
    return fingerprint == trained_on if comparable else None
