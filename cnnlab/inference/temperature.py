"""Mend the confidence of a trained network by temperature scaling (Guo et al. 2017, section 4.2)."""

import io
import math
from pathlib import Path

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from cnnlab.files import write_atomically
from cnnlab.runs.checkpoint import TEMPERATURES, read_checkpoint


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the number by which logits must be divided so that their cross-entropy is least.

    The answers stay the same; above 1, the network becomes less confident.

    Args:
        logits: float32 (N, classes), of images that the network was not trained on.
        labels: int64 (N,).
    """
    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(exact / math.exp(log_temperature), labels))

    bounds = tuple(math.log(limit) for limit in TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def save_temperature(checkpoint: Path, temperature: float) -> None:
    """Write a temperature into the description of a checkpoint, in one step; the weights stay as they are."""
    content = read_checkpoint(checkpoint, "checkpoint")
    content["cnnlab"]["temperature"] = temperature
    stream = io.BytesIO()
    torch.save(content, stream)
    write_atomically(checkpoint, stream.getbuffer())
