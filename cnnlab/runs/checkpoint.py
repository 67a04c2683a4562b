"""Reading checkpoints, including those of strangers: only tensors and plain values are ever loaded."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line, import_target

NETWORK_PREFIX = "network."  # of the network's weights among those of the LightningModule


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
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RequestError(f"{key}: {path} is not a checkpoint of tensors and plain values; it is not loaded") from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise RequestError(f"{key}: {path} is damaged or not a checkpoint ({first_line(error)})") from None
    if not isinstance(checkpoint, dict) or "cnnlab" not in checkpoint:
        raise RequestError(f"{key}: {path} was not written by cnnlab")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The network's state dict (the averaged weights, where the recipe averages)."""
    return {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(NETWORK_PREFIX)
    }


def recorded_model(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """The configuration of a checkpoint's network, which is safe to make: nothing is called but a network.

    A configuration names what makes the network. A stranger's could name anything that is installed, `os.system` too.

    Args:
        checkpoint: its content.
        path: its file, for messages.

    Raises:
        RequestError: when it names anything but a network of cnnlab's or a class of networks.
    """
    model = checkpoint["cnnlab"]["model"]
    target = model.get("_target_") if isinstance(model, dict) else None
    ours = isinstance(target, str) and target.startswith(("cnnlab.models.", "cnnlab.libraries."))
    made = import_target(target, "model")
    is_network = inspect.isclass(made) and issubclass(made, nn.Module)
    if not (ours or is_network) or any(_names_target(value) for key, value in model.items() if key != "_target_"):
        raise RequestError(f"checkpoint: {path} names {target!r} as its network, which is none; it is not loaded")
    # The weights are in the checkpoint: none are downloaded.
    return model | {"pretrained": False} if "pretrained" in model else model


def _names_target(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(_names_target(part) for part in value.values())
    return isinstance(value, list | tuple) and any(_names_target(part) for part in value)


def check_fits(checkpoint: dict[str, Any], network: nn.Module, path: Path, key: str = "resume") -> None:
    """Checks that the weights of a checkpoint have the names and shapes of a network's.

    Raises:
        RequestError: that names the first weight which differs.
    """
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in network_weights(checkpoint).items()}
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise RequestError(
                f"{key}: {path} holds another network: {name} is {theirs.get(name, 'missing')} there, "
                f"{ours.get(name, 'missing')} in this one"
            )
