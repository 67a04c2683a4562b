"""Networks with a mistake in them are recognized from their outputs, gradients and activations."""

import copy

import pytest
import torch
from torch import nn

from cnnlab.doctor import signal
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.probes import Layer
from cnnlab.runs.reading import read_run


@pytest.fixture(scope="module")
def looked_at(digits_run):
    """Return the facts of a short training, as if it had learned nothing."""
    read = read_run(digits_run)
    assert read.config is not None
    read.curve["train/accuracy"][:] = [0.1, 0.1]
    facts = Facts(read, read.config)
    assert facts.start and facts.batches and facts.images
    return facts


@pytest.fixture
def facts(looked_at):
    """Return the same with copies of what a test changes."""
    facts = Facts(looked_at.run, copy.deepcopy(looked_at.settings))
    facts.__dict__ |= {name: getattr(looked_at, name) for name in ("data", "start", "batches", "images")}
    return facts


def change(facts: Facts, mistake) -> None:
    """Put a mistake into the network before its first step."""
    changed = copy.deepcopy(facts.start)
    changed.network = mistake(changed.network) or changed.network
    facts.__dict__["start"] = changed


def layers(network: nn.Module):
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@torch.no_grad()
def scale(network: nn.Module, gain: float) -> None:
    for layer in layers(network)[:-1]:
        layer.weight.mul_(gain)


def test_a_network_that_was_made_well_is_left_in_peace(facts):
    assert [rule(facts) for rule in signal.RULES] == [None] * len(signal.RULES)


def test_a_softmax_before_the_loss_is_seen_in_the_outputs(facts):
    change(facts, lambda network: nn.Sequential(network, nn.Softmax(dim=1)))
    found = signal.softmax_before_loss(facts)
    assert found is not None
    assert "cannot fall below 1.46" in found.evidence
    change(facts, lambda network: nn.Sequential(network, nn.LogSoftmax(dim=1)))
    assert signal.softmax_before_loss(facts) is None  # does no harm


@pytest.mark.parametrize("mistake", ["frozen", "detached"])
def test_layers_that_do_not_change_are_named(facts, mistake):
    def stop(network: nn.Module) -> None:
        if mistake == "frozen":
            layers(network)[0].requires_grad_(False)
        else:
            layers(network)[0].register_forward_hook(lambda module, inputs, output: output.detach())

    change(facts, stop)
    found = signal.layers_not_learning(facts)
    assert found is not None
    assert "left 1 exactly as they were" in found.evidence
    assert "features.0.weight" in found.evidence


def test_small_first_weights_make_gradients_vanish(facts):
    change(facts, lambda network: scale(network, 0.1))
    found = signal.gradients_vanish(facts)
    assert found is not None
    assert "before the first step, the gradient is" in found.evidence
    assert signal.gradients_explode(facts) is None


@pytest.mark.parametrize("accuracy", [0.6, 0.99])
def test_a_network_that_learns_late_because_its_layers_shrink_their_values(facts, accuracy):
    """Its gradients are not faint enough by themselves; other first weights show what they cost."""
    facts.settings["model"]["normalization"] = "none"
    del facts.__dict__["start"]
    change(facts, lambda network: scale(network, 0.25))
    facts.curves["train/accuracy"][:] = accuracy
    assert signal._is_faint(facts, 1.0, 1.0) is False
    found = signal._larger_weights_help(facts)
    if accuracy > signal.LEARNED:
        assert found is None
    else:
        assert found is not None
        assert "with first weights that keep it at 1" in found[1]


@pytest.mark.parametrize(
    ("first", "trained", "accuracy", "vanishes"),
    [
        (5e-4, 0.05, 0.3, False),  # it began slowly, and learns now
        (5e-4, 1e-4, 0.3, True),
        (5e-4, 0.05, 0.1, True),  # at chance
        (5e-6, 0.05, 0.6, True),  # next to nothing
        (5e-6, 0.05, 0.9, False),  # and yet it learned
        (1.5e-3, 1e-4, 0.1, False),  # no less than in other networks with as many layers
    ],
)
def test_faint_gradients_are_a_fault_where_they_keep_a_network_from_learning(
    facts, monkeypatch, first, trained, accuracy, vanishes
):
    firsts = {"start": first, "trained": trained}
    monkeypatch.setattr(facts, "layers", lambda origin: [Layer("a", 1, firsts[origin]), Layer("b", 1, 0.01)])
    facts.curves["train/accuracy"][:] = accuracy
    assert (signal.gradients_vanish(facts) is not None) == vanishes


def test_large_first_weights_make_gradients_explode(facts):
    change(facts, lambda network: scale(network, 10))
    found = signal.gradients_explode(facts)
    assert found is not None
    assert "a network that knows nothing has a loss of 2.3" in found.evidence


@torch.no_grad()
def test_relus_that_are_zero_for_every_image_are_dead(facts):
    def kill(network: nn.Module) -> None:
        nn.init.constant_(layers(network)[1].get_parameter("bias"), -100)

    change(facts, kill)
    facts.__dict__["end"] = facts.start
    found = signal.dead_relus(facts)
    assert found is not None
    assert "100% of the ReLU values of features.4 are zero for every image at the end" in found.evidence


def test_batches_of_two_are_too_small_for_batch_norm_alone(facts):
    facts.settings["data"]["batch_size"] = 2
    assert signal.tiny_batches(facts) is None
    change(facts, lambda network: nn.Sequential(nn.BatchNorm2d(3), network))
    found = signal.tiny_batches(facts)
    assert found is not None
    assert "batches of 2 images" in found.evidence


def test_averaged_weights_that_lag_behind_are_far_worse_than_those_that_were_trained(facts):
    facts.__dict__["trained"] = facts.short(constant=1.0).classifier
    facts.__dict__["end"] = facts.start
    found = signal.lagging_weights(facts)
    assert found is not None
    assert "with the weights that the optimizer was at" in found.evidence
