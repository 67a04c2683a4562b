"""Mend the confidence of a trained network by temperature scaling (Guo et al. 2017, section 4.2)."""

import io
import math
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from cnnlab.data.images import Images
from cnnlab.files import write_atomically
from cnnlab.inference.metrics import score
from cnnlab.inference.scoring import run_network
from cnnlab.inference.trained import TrainedNetwork
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


def mend_confidence(
    net: TrainedNetwork, held_out: Images, logits: Tensor, labels: Tensor, batch_size: int
) -> dict[str, Any]:
    """Fit a temperature on held-out images, and return what it makes of the logits of others.

    Returns:
        `temperature`; `images`, the number of held-out images; `error` and `loss`, the calibration error and the
        cross-entropy of the logits with it.
    """
    temperature = fit_temperature(run_network(net, held_out, batch_size).logits, held_out.labels)
    mended = score(logits / temperature, labels, net.classes)
    return {
        "temperature": temperature,
        "images": len(held_out),
        "error": mended.calibration.error,
        "loss": mended.loss,
    }


def save_temperature(checkpoint: Path, temperature: float) -> None:
    """Write a temperature into the description of a checkpoint, in one step; the weights stay as they are."""
    content = read_checkpoint(checkpoint, "checkpoint")
    content["cnnlab"]["temperature"] = temperature
    stream = io.BytesIO()
    torch.save(content, stream)
    write_atomically(checkpoint, stream.getbuffer())
