import pytest
import torch
from torch import nn

from cnnlab.inspection.inside import Inside, Subject, look_inside

CLASSES = tuple("abcdefg")


def inside_of(network: nn.Module) -> Inside:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 8, 8)
    pixels = torch.zeros(8, 8, 3, dtype=torch.uint8)
    subject = Subject("thenet", "best.ckpt", "cat.jpg", pixels, truth="a", watched="2 images", grey=False)
    return look_inside(subject, network.eval(), CLASSES, image, [image, -image])


def test_the_most_probable_classes_come_first_and_have_maps() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU()), nn.Flatten(), nn.Linear(80, 7)
    )
    inside = inside_of(network)
    probabilities = [probability for _, probability in inside.predictions]
    assert len(probabilities) == 5
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == pytest.approx(float(inside.logits[0].softmax(0).max()))
    assert [(one.name, one.confidence) for one in inside.class_maps] == list(inside.predictions[:3])
    assert (inside.model, inside.truth, len(inside.uses)) == ("thenet", "a", 2)
    assert inside.table.layers[-1].output == (7,)


def test_without_maps_there_are_no_class_maps() -> None:
    inside = inside_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 7)))
    assert inside.class_maps == []
