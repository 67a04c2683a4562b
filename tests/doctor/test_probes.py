"""What is measured on a network says what it should, and leaves the network as it was."""

import copy

import pytest
import torch
from torch import nn

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import NotMeasured
from cnnlab.doctor.probes import fit_first_weights, gradients, score, train_shortly
from cnnlab.runs.reading import read_run


@pytest.fixture(scope="module")
def facts(digits_run):
    read = read_run(digits_run)
    return Facts(read, read.config)


def test_a_short_training_learns_and_leaves_the_network_as_it_was(facts):
    before = copy.deepcopy(facts.start.network.state_dict())
    short = facts.short(constant=1.0)
    assert short.loss < 0.9 * short.losses[0]
    assert all(torch.equal(before[name], value) for name, value in facts.start.network.state_dict().items())
    assert facts.short(constant=1.0) is short  # trained once


def test_a_short_training_follows_the_whole_schedule_at_the_rate_asked_for(facts):
    plain, raised = facts.short(), facts.short(lr=10.0)
    assert plain.rates.max() == pytest.approx(facts.summary["lr"], rel=0.1)
    assert plain.rates[-1] < 0.1 * plain.rates.max()
    assert raised.rates == pytest.approx(10 * plain.rates)


def test_updates_that_16_bits_round_away_are_counted(facts):
    small = copy.deepcopy(facts.start)
    lost = train_shortly(small, facts.batches[:5], "bf16-true", lr=1e-4, constant=1.0).lost
    assert lost > 0.9
    assert facts.short().lost == 0


def test_gradients_are_told_by_layer_and_none_is_zero(facts):
    layers = gradients(facts.start, facts.batches[:2])
    assert [layer.name for layer in layers][:2] == ["features.0.weight", "features.3.weight"]
    assert all(layer.weight > 0 and layer.gradient > 0 for layer in layers)
    assert all(weight.grad is None for weight in facts.start.network.parameters())


def test_statistics_of_the_batches_replace_those_that_lag():
    network = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    norm = network[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean.copy_(torch.tensor([0.0, 9.0, 0.0]))
    labels = torch.arange(64) % 3
    images = nn.functional.one_hot(labels, 3).float()[:, :, None, None].expand(-1, -1, 4, 4)
    assert score(network, [(images, labels)]).accuracy < 0.7
    assert score(network, [(images, labels)], batch_statistics=True).accuracy == 1


def test_other_images_and_lost_files_are_not_measured(run):
    read = read_run(run)
    facts = Facts(read, read.config)
    read.summary["data_fingerprint"] = "0" * 16  # pyright: ignore[reportIndexIssue]
    with pytest.raises(NotMeasured, match="the images are others"):
        _ = facts.data
    with pytest.raises(NotMeasured, match=r"config\.yaml"):
        _ = Facts(read, None).settings


def test_the_command_of_the_run_is_told_with_other_values(facts):
    command = facts.again("optimizer.lr=0.01", "data.batch_size=64")
    assert command.startswith("cnnlab train model=lenet5 data=digits")
    assert command.count("data.batch_size=") == 1
    assert command.endswith("optimizer.lr=0.01 data.batch_size=64")


def test_fitted_weights_keep_the_size_of_the_values_through_all_layers(facts):
    images = facts.batches[0][0]
    before = copy.deepcopy(facts.start.network.state_dict())
    fitted, deviations = fit_first_weights(facts.start, images)
    layers = [layer for layer in facts.start.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(deviations) == len(layers) and deviations[0] != pytest.approx(1, abs=0.1)
    assert all(torch.equal(before[name], value) for name, value in facts.start.network.state_dict().items())
    assert fit_first_weights(fitted, images)[1] == pytest.approx([1.0] * len(layers), abs=1e-3)
