"""Test the rules about what the network gets to see."""

from dataclasses import replace

import pytest
import torch

from cnnlab.data.augment import Augmentation
from cnnlab.data.images import Images
from cnnlab.doctor.pixels import broken_inputs, flips_change_class, pixels_not_normalized
from tests.doctor.invented import facts_of, pictures


def changed(images: Images, pixels: torch.Tensor) -> Images:
    return Images.decoded(pixels, images.labels)


@pytest.mark.parametrize(("constants", "is_found"), [((0.3, 0.3), False), ((0.45, 0.4), False), ((0.0, 0.004), True)])
def test_pixels_are_not_normalized_if_that_would_help(constants, is_found, monkeypatch):
    facts = facts_of(constants=constants)
    facts.__dict__["curves"] = {}
    monkeypatch.setattr(facts, "short", lambda: Short())
    facts._kept["a short training with normalized images"] = 0.5
    found = pixels_not_normalized(facts)
    assert (found is not None) == is_found
    if found:
        assert (
            "a standard deviation of" in found.evidence and "at a loss of 2.00 with them, and of 0.50" in found.evidence
        )


class Short:
    losses, loss = [2.3, 2.0], 2.0


@pytest.mark.parametrize(("constant", "confidence"), [(0.06, None), (0.004, 0.6)])
def test_pixels_that_train_as_well_are_left_in_peace_unless_they_are_far_off(monkeypatch, constant, confidence):
    facts = facts_of(constants=(0.0, constant))
    monkeypatch.setattr(facts, "short", lambda: Short())
    facts._kept["a short training with normalized images"] = 1.9
    facts.__dict__["curves"] = {}
    found = pixels_not_normalized(facts)
    assert (found.confidence if found else None) == confidence


def test_images_without_content_are_counted():
    images = pictures(400, 0)
    pixels = images.pixels.clone()
    pixels[:100] = 0
    found = broken_inputs(facts_of({"train": changed(images, pixels)}))
    assert found is not None
    assert "25.0% of 400" in found.evidence and "same value everywhere" in found.evidence
    assert broken_inputs(facts_of()) is None


def test_images_that_are_divided_by_too_much_still_have_their_content():
    assert broken_inputs(facts_of(constants=(0.0, 5000.0))) is None


def test_an_augmentation_that_blanks_images_is_seen_behind_the_square_that_is_cut_out():
    facts = facts_of()
    inputs = facts.batches[0][0]
    inputs[:] = 0.0
    inputs[:, :, 2:6, 2:6] = -1.0
    found = broken_inputs(facts)
    assert found is not None
    assert "augmented training images have the same value everywhere" in found.evidence


def test_drawings_in_black_and_white_are_not_broken():
    drawn = {}
    for seed, name in enumerate(("train", "val", "test")):
        images = pictures(400, seed)
        bits = torch.randint(2, (*images.pixels.shape[:3], 1), generator=torch.Generator().manual_seed(seed))
        drawn[name] = changed(images, (255 * bits).to(torch.uint8).expand_as(images.pixels).contiguous())
    assert broken_inputs(facts_of(drawn)) is None


def test_the_same_image_over_and_over():
    images = pictures(400, 0)
    pixels = images.pixels.clone()
    pixels[100:300] = pixels[0]
    found = broken_inputs(facts_of({"train": changed(images, pixels)}))
    assert found is not None
    assert "50.2% of 400 train images are the same image" in found.evidence


def test_values_that_are_not_finite():
    facts = facts_of()
    facts.batches[0][0][:] = float("nan")
    found = broken_inputs(facts)
    assert found is not None and "not finite" in found.evidence


def test_mirroring_images_of_which_the_mirrored_ones_are_of_another_class():
    found = flips_change_class(facts_of(augmentation=Augmentation(flip="random", pad=2)))
    assert found is not None
    assert "look like their original mirrored or turned (most often mirrored)" in found.evidence
    assert flips_change_class(facts_of(augmentation=Augmentation(pad=2))) is None


def test_distorted_images_are_not_turned_ones():
    strong = Augmentation(policy="rand", rand_operations=4, rand_magnitude=30, mixup=0.2)
    assert flips_change_class(facts_of(augmentation=strong)) is None


def test_mirroring_images_that_stay_what_they_are():
    def symmetric(seed: int) -> Images:
        images = pictures(400, seed)
        pixels = torch.maximum(images.pixels, images.pixels.flip(2))
        return replace(changed(images, pixels), labels=images.labels // 2)

    splits = {name: symmetric(seed) for seed, name in enumerate(("train", "val", "test"))}
    assert flips_change_class(facts_of(splits, augmentation=Augmentation(flip="random"))) is None
