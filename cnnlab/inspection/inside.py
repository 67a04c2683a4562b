"""Look inside a network while it classifies one image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cnnlab.inspection.activations import ActivationUse, watch_activations
from cnnlab.inspection.attribution import ClassMap, class_activation
from cnnlab.inspection.feature_maps import FeatureMaps, trace_maps
from cnnlab.inspection.layers import LayerTable, tabulate

PREDICTIONS, CLASS_MAPS = 5, 3  # numbers of classes


@dataclass(frozen=True)
class Subject:
    """Network and image to look at.

    Attributes:
        model: name of the network.
        checkpoint: file of the network.
        image: description of the image in words.
        pixels: the image as the network gets it, uint8 (H, W, 3).
        truth: class of the image; None if it is unknown.
        watched: description of the images on which activation functions are watched; None for this image alone.
    """

    model: str
    checkpoint: str
    image: str
    pixels: Tensor
    truth: str | None
    watched: str | None


@dataclass(frozen=True)
class Inside(Subject):
    """Subject with all that the page shows of it.

    Attributes:
        predictions: the most probable classes with their probabilities, the most probable first.
        table: layers of the network.
        maps: feature maps of the image.
        uses: of the activation functions.
        class_maps: of the most probable classes; empty if there can be none.
    """

    predictions: Sequence[tuple[str, float]]
    table: LayerTable
    maps: FeatureMaps
    uses: Sequence[ActivationUse]
    class_maps: Sequence[ClassMap]


def look_inside(
    subject: Subject, network: nn.Module, classes: Sequence[str], image: Tensor, batches: Iterable[Tensor]
) -> Inside:
    """Run an image through a network and collect what happens.

    Args:
        subject: describes the network and the image.
        network: maps images (N, C, H, W) to logits (N, classes).
        classes: their names.
        image: normalized, (1, C, H, W), on the network's device.
        batches: normalized images, (N, C, H, W) each, on which activation functions are watched.
    """
    maps = trace_maps(network, image)
    probabilities, numbers = maps.logits.softmax(dim=0).topk(min(PREDICTIONS, len(classes)))
    best = zip(numbers.tolist(), probabilities.tolist(), strict=True)
    predictions = [(classes[int(number)], float(probability)) for number, probability in best]
    class_maps = []
    if maps.explaining:
        found = class_activation(network, maps.explaining.name, image, numbers[:CLASS_MAPS].tolist())
        class_maps = [ClassMap(*prediction, values) for prediction, values in zip(predictions, found, strict=False)]
    return Inside(
        **vars(subject),
        predictions=predictions,
        table=tabulate(network, (image.shape[1], image.shape[2], image.shape[3])),
        maps=maps,
        uses=watch_activations(network, batches),
        class_maps=class_maps,
    )
