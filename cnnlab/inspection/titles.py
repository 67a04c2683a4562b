"""Say what each layer of a network does, in words: `Block 2, first convolution`."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

from cnnlab.inspection.activations import FUNCTIONS

WORDS = {
    "conv": "convolution",
    "convolution": "convolution",
    "convtranspose": "transposed convolution",
    "partialconvolution": "convolution",
    "linear": "fully connected layer",
    "batchnorm": "batch norm",
    "groupnorm": "group norm",
    "instancenorm": "instance norm",
    "layernorm": "layer norm",
    "localresponsenorm": "response norm",
    "maxpool": "max pooling",
    "avgpool": "average pooling",
    "adaptivemaxpool": "max pooling",
    "adaptiveavgpool": "average pooling",
    "mean": "average pooling",
    "subsampling": "subsampling",
    "add": "addition",
    "cat": "joined channels",
    "flatten": "list of all values",
    "getitem": "every second value",
    "pad": "added zeros",
    "affine": "scale and offset",
    "relu6": "ReLU6",
    "scaledtanh": "stretched tanh",
    "radialbasis": "distance from codes",
}
WEIGHTED = ("convolution", "fully connected layer")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
SHORTCUTS = ("shortcut", "downsample", "skip", "projection")  # parts of the names of modules


def in_words(kind: str) -> str:
    """Return what a module's class or a function does: `convolution` for `Conv2d`; the kind itself if it is unknown."""
    key = kind.lower().replace("_", "").removesuffix("2d")
    return FUNCTIONS[key][0] if key in FUNCTIONS else WORDS.get(key, kind)


def is_shortcut(name: str) -> bool:
    """Tell whether a module by its name belongs to a shortcut with weights of its own."""
    return any(word in part for part in name.split(".") for word in SHORTCUTS)


def titles(network: nn.Module, layers: Sequence[tuple[str, str]]) -> list[str]:
    """Return a title for each layer, given in the order of the calls as the module's name and its class or function.

    A block is a module with two or more of the network's layers with weights, but no more than half of them. Blocks are
    counted through the network, and layers of a kind through their block.
    """
    blocks = _blocks(network, layers)
    keys = [(block := blocks.get(name, ""), _task(block, name, kind)) for name, kind in layers]
    numbers = {block: place for place, block in enumerate(dict.fromkeys(block for block, _ in keys if block), start=1)}
    totals, seen, found = Counter(keys), Counter[tuple[str, str]](), []
    for block, task in keys:
        seen[block, task] += 1
        if totals[block, task] > 1:
            task = f"{_ordinal(seen[block, task])} {task}"
        found.append(f"Block {numbers[block]}, {task}" if block else task[0].upper() + task[1:])
    return found


def _ordinal(number: int) -> str:
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    return f"{number}{'th' if number % 100 < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _task(block: str, name: str, kind: str) -> str:
    of_shortcut = is_shortcut(name) or (block and in_words(kind) == "addition")
    return f"{in_words(kind)} of the shortcut" if of_shortcut else in_words(kind)


def _blocks(network: nn.Module, layers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the block of each module that is in one, by their names."""
    weighted = [name for name, kind in layers if in_words(kind).endswith(WEIGHTED)]

    def is_block(name: str) -> bool:
        inside = sum(one.startswith(f"{name}.") for one in weighted)
        return 2 <= inside <= len(weighted) / 2 and not isinstance(network.get_submodule(name), nn.Sequential)

    found: dict[str, str] = {}
    for name, module in network.named_modules():
        outer = found.get(name.rpartition(".")[0])  # modules come after those that hold them
        if name and (outer or (list(module.children()) and is_block(name))):
            found[name] = outer or name
    return found
