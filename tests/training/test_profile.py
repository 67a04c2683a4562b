import gzip
import json
import re
from itertools import count

import pytest

from cnnlab.training import profile as module
from cnnlab.training.profile import StepProfiler

# An epoch of 42 steps.
RUN = ("data=digits", "model=lenet5", "data.batch_size=32", "trainer.max_epochs=1", "logger=none", "hydra.run.dir=run")


def test_a_profile_says_where_a_step_goes(train, tmp_path):
    outcome = train(*RUN, "trainer.profile=true")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "run" / "profile"
    assert sorted(file.name for file in folder.iterdir()) == ["table.md", "trace.json.gz"]
    assert str(folder / "table.md") in outcome.out
    steps, operators = (folder / "table.md").read_text().split("\n\n")
    shares = {name: float(share) for name, share in re.findall(r"^\| ([\w ]+) \| [\d.]+ \| ([\d.]+)% ", steps, re.M)}
    assert list(shares) == ["loader", "forward", "backward", "optimizer", "the rest", "all"]
    assert sum(shares.values()) == pytest.approx(200, abs=0.5)
    assert shares["forward"] + shares["backward"] > 30
    assert all(share > 0 for share in shares.values())
    assert re.search(r"\| `aten::convolution_backward` \| 2 \| [\d.]+ \| [\d.]+% \|", operators)  # two a step
    with gzip.open(folder / "trace.json.gz") as stream:
        names = [event.get("name") for event in json.load(stream)["traceEvents"]]
    assert names.count("forward") == names.count("backward") == module.TRACED


def test_nothing_is_profiled_unless_it_is_asked_for(train, tmp_path):
    assert train(*RUN, "trainer.limit_train_batches=2").code == 0
    assert not (tmp_path / "run" / "profile").exists()


def test_a_run_that_is_too_short_says_so(train, tmp_path):
    outcome = train(*RUN, "trainer.limit_train_batches=12", "trainer.profile=true")
    assert outcome.code == 0
    assert "too short to be profiled: it takes 35 steps" in outcome.out
    assert not (tmp_path / "run" / "profile").exists()


@pytest.fixture
def profiler(tmp_path, monkeypatch) -> StepProfiler:
    """One whose clock goes on by a second whenever it is read, and which times from the first step."""
    ticks = count()
    monkeypatch.setattr(StepProfiler, "_now", staticmethod(lambda: next(ticks)))
    monkeypatch.setattr(module, "WARM_UP", 0)
    return StepProfiler(tmp_path / "profile")


def one_step(profiler: StepProfiler) -> None:
    for name in (
        *("+[Loop].train_dataloader_next", "-[Loop].train_dataloader_next", "+[Module].on_before_batch_transfer"),
        *("-[Module].on_before_batch_transfer", "+[Module].optimizer_step", "+[Strategy].training_step"),
        *("-[Strategy].training_step", "+[Strategy].backward", "-[Strategy].backward", "-[Module].optimizer_step"),
        *("+[Callback]A{}.on_train_batch_end", "-[Callback]A{}.on_train_batch_end"),
    ):
        (profiler.start if name[0] == "+" else profiler.stop)(name[1:])


def test_the_time_of_an_inner_part_is_not_that_of_the_outer_one(profiler):
    one_step(profiler)
    profiler.start("[Loop].train_dataloader_next")
    (step,) = profiler._timed
    # From the start of each part to its end, though forward and backward lie within the optimizer's step.
    assert step["loader"] == step["forward"] == step["backward"] == step["optimizer"] == 1
    assert step["the rest"] > 1
    assert sum(step.values()) == 13  # each of the 13 readings after the step's start gave its second to some part


def test_a_step_at_the_end_of_an_epoch_is_left_out(profiler):
    one_step(profiler)
    profiler.start("[Callback]Recorder.on_train_epoch_end")
    profiler.stop("[Callback]Recorder.on_train_epoch_end")
    one_step(profiler)
    one_step(profiler)
    assert len(profiler._timed) == 1
