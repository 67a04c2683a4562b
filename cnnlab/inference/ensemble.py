"""Use several trained networks as one: by the mean of their probabilities, or of their weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cnnlab.errors import RequestError
from cnnlab.inference.scoring import NetworkOutputs
from cnnlab.inference.trained import TrainedNetwork


def check_members(nets: Sequence[TrainedNetwork]) -> None:
    """Raise RequestError if the networks differ in classes, size of the images, or the images that they learned."""
    first = nets[0]
    for net in nets[1:]:
        for name in ("classes", "image_size", "data_fingerprint"):
            if getattr(net, name) != getattr(first, name):
                raise RequestError(f"checkpoint: {first.checkpoint} and {net.checkpoint} differ in {name}")


def combine(outputs: Sequence[NetworkOutputs]) -> NetworkOutputs:
    """Return logits whose softmax is the mean of the networks' probabilities; also those of test-time augmentation."""
    augmented = [part.tta_logits for part in outputs if part.tta_logits is not None]
    return NetworkOutputs(
        logits=_mean_answer([part.logits for part in outputs]),
        tta_logits=_mean_answer(augmented) if augmented else None,
        features=None,
        images_per_second=1 / sum(1 / part.images_per_second for part in outputs),
    )


def _mean_answer(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.log_softmax(dim=1) for part in logits]).logsumexp(dim=0) - math.log(len(logits))


def average_weights(nets: Sequence[TrainedNetwork]) -> TrainedNetwork:
    """Return the first network with the mean of all weights (a uniform soup, Wortsman et al. 2022).

    That helps only if the trainings began with the same weights. The statistics of batch norms are averaged, too.

    Raises:
        RequestError: if the networks have different options.
    """
    if other := next((net for net in nets[1:] if net.model != nets[0].model), None):
        raise RequestError(f"soup: {other.checkpoint} holds another network than {nets[0].checkpoint}")
    states = [net.network.state_dict() for net in nets]
    means = {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    nets[0].network.load_state_dict(means)
    return nets[0]
