from pathlib import Path

import pytest
import torch

from tests.helpers import TINY, TWO, checkpoint, configuration, run, same_weights, stop_when_asked, summary, weights

OPTIONS = (*TINY, "model=resnet20", "model.width=0.25", "recipe=finetune", "data.batch_size=16", "averaging=null")
OPTIONS += ("trainer.max_epochs=2", "trainer.precision=32-true", "freeze=1")


def changed(one: Path, other: Path) -> set[str]:
    a, b = weights(one), weights(other)
    return {name for name in a if not torch.equal(a[name], b[name])}


def start(train, tmp_path: Path) -> None:
    assert train(*OPTIONS, "freeze=null", "trainer.max_epochs=1", "hydra.run.dir=start").code == 0


def test_a_linear_probe_changes_the_head_alone_and_no_statistics(train, tmp_path):
    start(train, tmp_path)
    assert train(*OPTIONS, "freeze=all", "weights=start/checkpoints/last.ckpt", "hydra.run.dir=probe").code == 0
    assert changed(tmp_path / "start", tmp_path / "probe") == {"network.fc.weight", "network.fc.bias"}


def test_all_learn_after_the_frozen_epochs(train, tmp_path):
    start(train, tmp_path)
    assert train(*OPTIONS, "weights=start/checkpoints/last.ckpt", "hydra.run.dir=tuned").code == 0
    assert changed(tmp_path / "start", tmp_path / "tuned") == weights(tmp_path / "start").keys()
    counted = {int(v) for k, v in weights(tmp_path / "tuned").items() if k.endswith("num_batches_tracked")}
    assert counted == {6}  # three of the start, three of the second epoch
    assert configuration(tmp_path / "tuned")["freeze"] == 1


@pytest.mark.parametrize(("times", "step"), [(2, 2), (3, 3), (5, 4)])  # within the frozen epoch, at its end, after it
def test_a_run_that_is_resumed_ends_as_if_it_had_not_been_stopped(train, tmp_path, monkeypatch, times, step):
    assert train(*OPTIONS, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        stop_when_asked(patch, times)
        assert train(*OPTIONS, "hydra.run.dir=parts").code == 130
    assert summary(tmp_path / "parts")["steps"] == step
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_two_processes_freeze_alike(train, tmp_path):
    start(train, tmp_path)
    both = (*OPTIONS, "weights=start/checkpoints/last.ckpt", *TWO)
    assert run(tmp_path, *both, "freeze=all", "hydra.run.dir=probe")[0] == 0
    assert changed(tmp_path / "start", tmp_path / "probe") == {"network.fc.weight", "network.fc.bias"}
    assert run(tmp_path, *both, "hydra.run.dir=tuned")[0] == 0
    assert changed(tmp_path / "start", tmp_path / "tuned") == weights(tmp_path / "start").keys()


def test_what_the_network_keeps_frozen_stays_so(train, tmp_path):
    options = (*TINY, "model=speednet", "model.width=0.25", "recipe=finetune", "freeze=1", "trainer.precision=32-true")
    assert train(*options, "averaging=null", "hydra.run.dir=run").code == 0
    optimizer = checkpoint(tmp_path / "run")["optimizer_states"][0]
    parameters = sum(len(group["params"]) for group in optimizer["param_groups"])
    assert 0 < len(optimizer["state"]) == parameters


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("freeze=2", "freeze must be less than trainer.max_epochs, 2, got 2; freeze=all trains the head alone"),
        ("freeze=some", "freeze must be a whole number or one of all or null, got 'some'"),
        ("layer_decay=2", "layer_decay must be above 0 and at most 1, got 2"),
    ],
)
def test_wrong_values_are_refused(train, argument, message):
    refused = train(*OPTIONS, argument)
    assert refused.code == 2
    assert message in refused.err
