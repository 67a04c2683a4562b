"""Test answers of networks and of the simple classifier, and that commands of the rules about data are accepted."""

import shlex
from dataclasses import replace

import pytest
import torch

from cnnlab.data.augment import Augmentation
from cnnlab.data.loader import Loader
from cnnlab.doctor.answers import Answers, audit_command, guesses, pixel_classifier
from cnnlab.doctor.labels import largest_class
from cnnlab.doctor.pixels import flips_change_class
from cnnlab.doctor.splits import images_not_shuffled
from tests.doctor.invented import BATCH, facts_of, pictures

RUN = "cnnlab train model=lenet5 data=digits data._target_=mine.Sorted +data.buffer=3 data.batch_size=8"


def test_the_place_of_a_label_is_near_if_classes_are_confused_and_anywhere_if_it_is_random():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(6, 1)
    assert Answers(logits, torch.tensor([0, 0, 1, 1, 1, 0])).far_off == 0
    assert Answers(logits, torch.tensor([1, 2, 3, 1, 2, 3])).far_off == pytest.approx(0.5)
    assert Answers(logits[:2], torch.tensor([0, 1])).confusion().tolist()[:2] == [[1, 0, 0, 0], [1, 0, 0, 0]]


def test_pixels_tell_corners_apart_and_not_when_labels_are_those_of_other_images():
    assert guesses(facts_of(), "val").accuracy > 0.95
    train = pictures(400, 0)
    wrong = replace(train, labels=train.labels[torch.randperm(400, generator=torch.Generator().manual_seed(1))])
    assert guesses(facts_of({"train": wrong}), "val").accuracy < 0.5


def test_a_training_image_is_judged_as_if_it_had_not_been_learned():
    train = pictures(400, 0)
    simple = pixel_classifier(facts_of({"train": train}))
    for place in (0, 7, 399):
        others = torch.cat([torch.arange(place), torch.arange(place + 1, 400)])
        without = pixel_classifier(facts_of({"train": train.take(others)}))
        one = facts_of({"val": train.take(torch.tensor([place]))})
        one._kept["a simple classifier"] = without
        torch.testing.assert_close(simple.left_out.logits[place], guesses(one, "val").logits[0], atol=0.01, rtol=0)


def flips():
    return flips_change_class(facts_of(augmentation=Augmentation(flip="random"), command="cnnlab train data=digits"))


def largest():
    train = pictures(400, 0)
    train = train.take(torch.cat([(train.labels == 0).nonzero().flatten(), torch.arange(8)]))
    always = {name: torch.zeros(200, dtype=torch.int64) for name in ("val", "test")}
    return largest_class(facts_of({"train": train}, always, command="cnnlab train model=lenet5 select=val/loss"))


def unshuffled():
    train, constants = pictures(400, 0), torch.full((3,), 0.3)
    train = train.take(train.labels.argsort())
    loader = Loader(train, BATCH, constants, constants)
    return images_not_shuffled(facts_of({"train": train}, loader=loader, command=RUN))


@pytest.mark.parametrize("find", [flips, largest, unshuffled])
def test_a_command_composes(command, find):
    finding = find()
    assert finding is not None
    _, name, *arguments = shlex.split(finding.command)
    outcome = command(name, *arguments, "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert "mine.Sorted" not in finding.command


def test_an_audit_composes(command):
    _, name, *arguments = shlex.split(audit_command(facts_of()))
    assert command(name, *arguments, "--cfg", "job").code == 0
