"""Test the rules about labels, on images whose class is the corner of a bright spot."""

from dataclasses import replace

import pytest
import torch

from cnnlab.data.images import Images
from cnnlab.doctor.labels import largest_class, shuffled_labels
from tests.doctor.invented import CLASSES, facts_of, pictures


def mislabelled(images: Images, share: float) -> Images:
    labels = images.labels.clone()
    count = round(share * len(labels))
    labels[:count] = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(9))
    return replace(images, labels=labels)


def test_right_labels_are_left_in_peace():
    assert shuffled_labels(facts_of()) is None


def test_labels_without_any_relation_to_the_images_are_found_by_the_pixels():
    wrong = {name: mislabelled(pictures(200, seed), 1.0) for seed, name in enumerate(("train", "val"))}
    found = shuffled_labels(facts_of(wrong))
    assert found is not None and found.confidence > 0.7
    assert "always the largest of the 4 classes" in found.evidence


def test_validation_images_that_are_less_right_than_test_images_give_some_wrong_labels_away():
    val = pictures(200, 1)
    found = shuffled_labels(facts_of({"val": mislabelled(val, 0.4)}, {"val": val.labels}))
    assert found is not None
    assert "100.0% of 200 test images" in found.evidence


@pytest.mark.parametrize("protocol", ["holdout", "article"])
def test_some_wrong_labels_among_the_training_images_are_found_by_what_the_other_images_say(protocol):
    """The network need not have learned anything: here it is right everywhere."""
    found = shuffled_labels(facts_of({"train": mislabelled(pictures(400, 0), 0.3)}, protocol=protocol))
    assert found is not None
    assert "(each of them without that image)" in found.evidence and "of 400 training images" in found.evidence


def test_wrong_labels_in_all_splits_are_found_by_errors_that_are_not_those_of_similar_classes():
    sound = {name: pictures(200, seed) for seed, name in enumerate(("val", "test"))}
    wrong = {name: mislabelled(images, 0.4) for name, images in sound.items()}
    answered = {name: images.labels for name, images in sound.items()}
    found = shuffled_labels(facts_of(wrong, answered))
    assert found is not None
    assert "labels at random have 0.5" in found.evidence


def test_a_weak_network_is_no_evidence_of_wrong_labels():
    val = pictures(200, 1)
    neighbour = torch.where(torch.arange(200) % 2 == 0, val.labels, (val.labels + 1) % CLASSES)
    facts = facts_of({"val": val}, {"val": neighbour, "test": neighbour})
    kept = facts._kept["the network's answers (val)"]
    kept.logits[torch.arange(200), val.labels] += 1.5  # the right class is the second
    assert shuffled_labels(facts) is None


def test_a_network_that_is_worse_than_its_pixels_is_no_evidence_of_wrong_labels():
    val = pictures(200, 1)
    anything = torch.where(torch.arange(200) % 2 == 0, val.labels, torch.randint(CLASSES, (200,)))
    assert shuffled_labels(facts_of({"val": val}, {"val": anything, "test": anything})) is None


def with_counts(*counts: int) -> Images:
    images = pictures(400, 0)
    chosen = [(images.labels == label).nonzero().flatten()[:count] for label, count in enumerate(counts)]
    return images.take(torch.cat(chosen))


def test_the_largest_class_as_the_answer_to_everything():
    train = with_counts(80, 5, 5, 5)
    always = {name: torch.zeros(200, dtype=torch.int64) for name in ("val", "test")}
    found = largest_class(facts_of({"train": train}, always))
    assert found is not None
    assert "80 of 95 training images are of class a; the network gives this class to 100%" in found.evidence
    few = {"val": torch.zeros(46, dtype=torch.int64), "test": always["test"]}
    assert shuffled_labels(facts_of({"train": train, "val": with_counts(40, 2, 2, 2)}, few)) is None
    assert largest_class(facts_of({"train": train})) is None, "all are told apart"
    assert largest_class(facts_of(None, always)) is None, "the classes are balanced, so it is something else"
