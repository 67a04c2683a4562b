"""Look inside a network while it classifies one image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cnnlab.inspection.activations import ActivationUse, watch_activations
from cnnlab.inspection.attribution import ClassMap, class_activation, occlusion
from cnnlab.inspection.cost import run_image
from cnnlab.inspection.feature_maps import Chain, find_chains, find_explaining
from cnnlab.inspection.layers import Layer, LayerTable, tabulate

PREDICTIONS, CLASS_MAPS = 5, 3  # numbers of classes


@dataclass(frozen=True)
class Subject:
    """Network and image to look at."""

    model: str  # name of the network
    checkpoint: str  # file of the network
    image: str  # description of the image in words
    pixels: Tensor  # the image as the network gets it, uint8 (H, W, 3)
    truth: str | None  # class of the image; None if it is unknown
    watched: str | None  # the images on which activation functions are watched, in words; None for this image alone
    grey: bool  # whether the network was trained on grey images, and gets one


@dataclass(frozen=True)
class Inside(Subject):
    """Subject with all that the page shows of it."""

    predictions: Sequence[tuple[str, float]]  # the most probable classes with their probabilities, best first
    table: LayerTable  # layers of the network, with their values for the image
    chains: Sequence[Chain]  # its convolutions, each with what follows it
    filters: Tensor | None  # weights of the first one, (out, in / groups, height, width); None if there is none
    explaining: Layer | None  # layer from which the class maps are computed
    uses: Sequence[ActivationUse]  # of the activation functions
    class_maps: Sequence[ClassMap]  # of the most probable classes; empty if there can be none
    logits: Tensor  # of the watched images, float32 (N, classes)


def look_inside(
    subject: Subject, network: nn.Module, classes: Sequence[str], image: Tensor, batches: Iterable[Tensor]
) -> Inside:
    """Run an image, (1, C, H, W), through a network and collect what happens.

    The activation functions are watched on the batches, (N, C, H, W) each. All images are normalized and on the
    network's device.
    """
    table = tabulate(network, (image.shape[1], image.shape[2], image.shape[3]), image)
    chains = find_chains(table)
    probabilities, numbers = run_image(network, image)[0].float().softmax(dim=0).topk(min(PREDICTIONS, len(classes)))
    best = zip(numbers.tolist(), probabilities.tolist(), strict=True)
    predictions = [(classes[int(number)], float(probability)) for number, probability in best]
    class_maps = []
    if explaining := find_explaining(network, table, chains):
        shown = numbers[:CLASS_MAPS].tolist()
        maps, covered = class_activation(network, explaining.name, image, shown), occlusion(network, image, shown)
        class_maps = [ClassMap(*best, *both) for best, *both in zip(predictions, maps, covered, strict=False)]
    first = dict(network.named_modules()).get(chains[0].layers[0].name) if chains else None
    weights = getattr(first, "weight", None)
    uses, logits = watch_activations(network, batches)
    return Inside(
        **vars(subject),
        predictions=predictions,
        table=table,
        chains=chains,
        filters=None if weights is None else weights.detach().float().cpu(),
        explaining=explaining,
        uses=uses,
        class_maps=class_maps,
        logits=logits,
    )
