"""Reading checkpoints, including those of strangers: only tensors and plain values are ever loaded."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

NETWORK_PREFIX = "network."  # of the network's weights among those of the LightningModule


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        RequestError: where there is none, or it is damaged, or holds anything that would run code when loaded.
    """
    if not path.is_file():
        raise RequestError(f"resume: there is no checkpoint {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RequestError(
            f"resume: {path} is not a checkpoint of tensors and plain values; it is not loaded"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise RequestError(f"resume: {path} is damaged or not a checkpoint ({first_line(error)})") from None
    if not isinstance(checkpoint, dict) or "cnnlab" not in checkpoint:
        raise RequestError(f"resume: {path} was not written by cnnlab")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The network's state dict (the averaged weights, where the recipe averages)."""
    return {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(NETWORK_PREFIX)
    }


def check_fits(checkpoint: dict[str, Any], network: nn.Module, path: Path) -> None:
    """Checks that the weights of a checkpoint have the names and shapes of a network's.

    Raises:
        RequestError: that names the first weight which differs.
    """
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in network_weights(checkpoint).items()}
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise RequestError(
                f"resume: {path} holds another network: {name} is {theirs.get(name, 'missing')} there, "
                f"{ours.get(name, 'missing')} in this one"
            )
