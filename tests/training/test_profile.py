import gzip
import json
import re
from itertools import count

import pytest

from cnnlab.training import profile as module
from cnnlab.training.profile import StepProfiler

# An epoch of 42 steps.
RUN = ("data=digits", "model=lenet5", "data.batch_size=32", "trainer.max_epochs=1", "logger=none", "hydra.run.dir=run")


def test_a_profile_shows_where_the_time_of_a_step_goes(train, tmp_path):
    outcome = train(*RUN, "trainer.profile=true")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "run" / "profile"
    assert sorted(file.name for file in folder.iterdir()) == ["table.md", "trace.json.gz"]
    assert str(folder / "table.md") in outcome.out
    parts, operators = (folder / "table.md").read_text().split("\n\nOperators of 5 steps:\n\n")
    shares = {name: float(share) for name, share in re.findall(r"^\| ([\w ]+) \| [\d.]+ \| ([\d.]+)% ", parts, re.M)}
    assert list(shares) == ["loader", "forward", "backward", "optimizer", "other", "all"]
    assert sum(shares.values()) == pytest.approx(200, abs=0.5)
    assert shares["forward"] + shares["backward"] > 30
    assert all(share > 0 for share in shares.values())
    assert re.search(r" aten::convolution_backward .* 10 +$", operators, re.M)  # calls: two per step
    with gzip.open(folder / "trace.json.gz") as stream:
        names = [event.get("name") for event in json.load(stream)["traceEvents"]]
    assert names.count("forward") == names.count("backward") == module.TRACED_STEPS


def test_nothing_is_profiled_by_default(train, tmp_path):
    assert train(*RUN, "trainer.limit_train_batches=2").code == 0
    assert not (tmp_path / "run" / "profile").exists()


def test_a_run_too_short_to_profile_says_so(train, tmp_path):
    outcome = train(*RUN, "trainer.limit_train_batches=12", "trainer.profile=true")
    assert outcome.code == 0
    assert "too short to be profiled: it takes 35 steps" in outcome.out
    assert not (tmp_path / "run" / "profile").exists()


@pytest.fixture
def profiler(tmp_path, monkeypatch) -> StepProfiler:
    """A profiler that times from the first step, with a clock that advances by a second per reading."""
    ticks = count()
    monkeypatch.setattr(StepProfiler, "_now", staticmethod(lambda: next(ticks)))
    monkeypatch.setattr(module, "WARMUP_STEPS", 0)
    return StepProfiler(tmp_path / "profile")


def run(profiler: StepProfiler, *actions: str) -> None:
    """Start ("+") and stop ("-") actions as Lightning does."""
    for action in actions:
        (profiler.start if action[0] == "+" else profiler.stop)(action[1:])


STEP = (
    *("+[Loop].train_dataloader_next", "-[Loop].train_dataloader_next", "+[Module].on_before_batch_transfer"),
    *("-[Module].on_before_batch_transfer", "+[Module].optimizer_step", "+[Strategy].training_step"),
    *("-[Strategy].training_step", "+[Strategy].backward", "-[Strategy].backward", "-[Module].optimizer_step"),
    *("+[Callback]A{}.on_train_batch_end", "-[Callback]A{}.on_train_batch_end"),
)
EPOCH_END = ("+[Callback]Recorder.on_train_epoch_end", "-[Callback]Recorder.on_train_epoch_end")


def test_the_time_of_an_inner_part_does_not_count_for_the_outer_one(profiler):
    run(profiler, *STEP, "+[Loop].train_dataloader_next")
    seconds = {part: spent for part, spent in profiler._seconds.items() if part != "other"}
    # Each part lasts from its start to its end; forward and backward lie within the optimizer's step, which has what
    # comes before, between and after them.
    assert seconds == {"train_dataloader_next": 1, "training_step": 1, "backward": 1, "optimizer_step": 3}


def test_time_after_the_last_step_of_an_epoch_does_not_count(profiler):
    run(profiler, *STEP, *EPOCH_END)
    seconds = dict(profiler._seconds)
    assert sum(seconds.values()) == 9  # readings after the first
    run(profiler, *EPOCH_END, *EPOCH_END)
    assert profiler._seconds == seconds
    run(profiler, *STEP, *EPOCH_END)
    assert sum(profiler._seconds.values()) == 18


def test_only_the_first_process_profiles(tmp_path):
    profiler = StepProfiler(tmp_path / "profile")
    profiler.setup("fit", local_rank=1)
    for _ in range(50):
        run(profiler, *STEP)
    profiler.describe()
    assert not (tmp_path / "profile").exists()
