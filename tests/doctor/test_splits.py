"""Test the rules about splits and the order of the images."""

from dataclasses import replace

import torch

from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.doctor.splits import exchanged_classes, images_not_shuffled, leaked_images
from tests.doctor.invented import BATCH, facts_of, pictures


def test_two_classes_that_are_exchanged_in_the_test():
    test = pictures(200, 2)
    exchanged = test.labels.clone()
    exchanged[test.labels == 1], exchanged[test.labels == 3] = 3, 1
    found = exchanged_classes(facts_of({"test": replace(test, labels=exchanged)}, {"test": test.labels}))
    assert found is not None
    assert "100% of the test images of b are called d, and 100% of those of d are called b" in found.evidence
    assert exchanged_classes(facts_of()) is None


def test_two_classes_that_are_exchanged_everywhere_are_a_matter_of_names():
    sound = {name: pictures(200, seed) for seed, name in enumerate(("train", "val", "test"))}
    answered = {name: (images.labels + 1) % 4 for name, images in sound.items()}
    assert exchanged_classes(facts_of(sound, answered)) is None


def undecided(labels: torch.Tensor, right: float) -> torch.Tensor:
    """Answers that confuse two classes: so many of their images are called by their own name."""
    answers, wrong = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    for label in (1, 3):
        own = (labels == label).nonzero().flatten()
        wrong[own[round(right * len(own)) :]] = True
    answers[(labels == 1) & wrong], answers[(labels == 3) & wrong] = 3, 1
    return answers


def test_two_classes_that_the_network_confuses_are_exchanged_if_the_pixels_say_so_too():
    train, test = pictures(400, 0), pictures(200, 2)
    exchanged = test.labels.clone()
    exchanged[test.labels == 1], exchanged[test.labels == 3] = 3, 1
    answered = {"train": undecided(train.labels, 0.62), "test": undecided(test.labels, 0.62)}
    found = exchanged_classes(facts_of({"test": replace(test, labels=exchanged)}, answered))
    assert found is not None
    assert "exchanges them as well" in found.evidence
    confused = {"train": undecided(train.labels, 0.62), "test": undecided(test.labels, 0.35)}
    assert exchanged_classes(facts_of(None, confused)) is None


def leaking(change: float) -> dict[str, Images]:
    train, test = pictures(400, 0), pictures(200, 2)
    pixels = (test.pixels[:60].float() * (1 - change)).round().to(torch.uint8)
    both = Images.decoded(torch.cat([train.pixels, pixels]), torch.cat([train.labels, test.labels[:60]]))
    return {"train": both, "test": test}


def test_test_images_that_are_training_images():
    found = leaked_images(facts_of(leaking(0)))
    assert found is not None
    assert found.evidence.startswith("60 of 200 test images (30.0%) have the pixels of a training image")
    assert leaked_images(facts_of()) is None


def test_test_images_that_are_darker_copies_of_training_images():
    found = leaked_images(facts_of(leaking(0.1)))
    assert found is not None
    assert "30.0% of 200 test images have a near copy" in found.evidence


def test_images_in_the_order_of_their_classes():
    train = pictures(400, 0)
    train = train.take(train.labels.argsort())
    constants = torch.full((3,), 0.3)
    found = images_not_shuffled(facts_of({"train": train}, loader=Loader(train, BATCH, constants, constants)))
    assert found is not None
    assert "a batch of 31 training images has 1.2 classes on average" in found.evidence
    assert images_not_shuffled(facts_of()) is None


def test_batches_with_each_class_equally_often_are_shuffled():
    train, constants = pictures(400, 0), torch.full((3,), 0.3)
    loader = Loader(train, BATCH, constants, constants, shuffle=True, balanced=True)
    assert images_not_shuffled(facts_of({"train": train}, loader=loader)) is None
