"""Order the layers of any network: its head, and how far the others are from it."""

from collections.abc import Collection

from torch import nn

MOST_STEPS = 12  # in which rates fall; as for ConvNeXt (Liu et al. 2022), deep networks have several layers in each


def head_names(network: nn.Module, classes: int) -> set[str]:
    """Return the names of the weights of the head: the last layer with as many outputs as classes, else the last one.

    Networks of timm name their head themselves.
    """
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    outputs = {m: [len(p) for p in m.parameters(recurse=False) if p.ndim >= 2] for m in network.modules()}
    layers = [module for module in outputs if outputs[module]]
    last = ([module for module in layers if classes in outputs[module]] or layers)[-1:]
    if callable(get := getattr(network, "get_classifier", None)):
        heads = get()
        heads = heads if isinstance(heads, tuple | list) else [heads]
        last = [
            module for module in heads if isinstance(module, nn.Module) and next(module.parameters(), None) is not None
        ] or last
    return {named[id(parameter)] for module in last for parameter in module.parameters()}


def layer_factors(network: nn.Module, decay: float, head: Collection[str]) -> dict[str, float]:
    """Return a factor on the learning rate of each weight: 1 for the head, `decay` less with every step to the input.

    The layers are in the network's own order, and a step is one layer, or several next to each other in networks of
    more than 12. Vectors, such as those of norms, belong to the filters or matrix before them.
    """
    layers: list[list[str]] = [[]]
    for name, parameter in network.named_parameters():
        if name in head:
            continue
        if parameter.ndim >= 2 and layers[0]:
            layers.append([])
        layers[-1].append(name)
    steps = min(len(layers), MOST_STEPS)
    factors = {name: decay ** (steps - i * steps // len(layers)) for i, names in enumerate(layers) for name in names}
    return factors | dict.fromkeys(head, 1.0)
