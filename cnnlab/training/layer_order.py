"""Order the layers of any network: its head, and how far the others are from it."""

from torch import nn


def head_names(network: nn.Module, classes: int) -> set[str]:
    """Return the names of the weights of the head: the last layer with as many outputs as classes.

    Networks of timm name their head themselves. Without such a layer, there are no names.
    """
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    last: list[nn.Module] = []
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if any(p.ndim >= 2 and p.shape[0] == classes for p in own):
            last = [module]
    if callable(get := getattr(network, "get_classifier", None)):
        heads = get()
        heads = heads if isinstance(heads, tuple | list) else [heads]
        last = [
            module for module in heads if isinstance(module, nn.Module) and next(module.parameters(), None) is not None
        ] or last
    return {named[id(parameter)] for module in last for parameter in module.parameters()}
