"""What the optimizers are given: the parameters of a network, in groups."""

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    """Parameter groups as every optimizer of `torch.optim` takes them.

    Args:
        network: whose trainable parameters are grouped.
        decay_norms_and_biases: True for one group; False to put all vectors (biases, and the scales and offsets of
            norms) into a second group without weight decay, so that decay acts on filters and matrices alone (He, T.
            et al. 2019, "Bag of tricks for image classification with convolutional neural networks", section 3.1).
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    if decay_norms_and_biases:
        return [{"params": trainable}]
    matrices = [p for p in trainable if p.ndim >= 2]
    vectors = [p for p in trainable if p.ndim < 2]
    return [{"params": matrices}] + ([{"params": vectors, "weight_decay": 0.0}] if vectors else [])
