"""Where the time of a training step goes: `trainer.profile=true`."""

import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler

log = logging.getLogger(__name__)

WARM_UP, TIMED, TRACED = 10, 20, 5  # steps, one kind after the other
OPERATORS = 30  # rows of the table

LOADER, FORWARD, BACKWARD, OPTIMIZER, REST = "loader", "forward", "backward", "optimizer", "the rest"
# What Lightning calls its actions, by the end of their names; the time of an inner one is not the outer one's.
PARTS = {
    ".train_dataloader_next": LOADER,
    ".training_step": FORWARD,
    ".backward": BACKWARD,
    ".optimizer_zero_grad": OPTIMIZER,
    ".configure_gradient_clipping": OPTIMIZER,
    ".on_train_batch_end": REST,  # averaging, the record, the bar
}
STEP_STARTS = ".train_dataloader_next"
OPTIMIZER_STEP = ".optimizer_step"  # runs forward and backward within
EPOCH_ENDS = (".on_validation_start", ".on_train_epoch_end")

EXPLAINED = {
    LOADER: "making the batch, or waiting for it",
    FORWARD: "network, loss, running totals",
    BACKWARD: "gradients",
    OPTIMIZER: "the update of the weights, clearing gradients",
    REST: "Lightning, schedule, averaging, record, progress",
}


class StepProfiler(Profiler):
    """Times the parts of some steps after the first ones, then records the operators of a few more.

    It leaves `table.md`, with where a step goes and which operators take how long, and `trace.json.gz` for
    https://ui.perfetto.dev. The parts are timed without the operators, whose recording slows small ones down. On a GPU
    every part waits for the device while it is timed, so that these steps are slower than others. Once it has what it
    needs, it does nothing any more.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._steps_seen = 0
        self._done = False
        self._parts: list[str] = []  # under way, the innermost last
        self._step: dict[str, float] | None = None  # seconds by part of the step that is timed
        self._timed: list[dict[str, float]] = []
        self._recorder: torch.profiler.profile | None = None
        self._recorded_steps = 0
        self._ranges: list[torch.profiler.record_function] = []

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """One process writes for all."""
        super().setup(stage, local_rank, log_dir)
        if local_rank:
            self._done = True

    @contextmanager
    def profile(self, action_name: str) -> Iterator[None]:
        """What Lightning does inside is an action of this name."""
        if self._done:
            yield
            return
        self.start(action_name)
        try:
            yield
        finally:
            self.stop(action_name)

    def start(self, action_name: str) -> None:
        """An action starts; the first of a step decides what is done with it."""
        if self._done:
            return
        name = _ending(action_name)
        if name == STEP_STARTS:
            self._start_step()
        elif name in EPOCH_ENDS:
            self._end_of_epoch()
        if name in PARTS or name == OPTIMIZER_STEP:
            part = PARTS.get(name, REST)
            self._enter(part)
            self._parts.append(part)

    def stop(self, action_name: str) -> None:
        """An action ends."""
        name = _ending(action_name)
        if self._done or not self._parts or not (name in PARTS or name == OPTIMIZER_STEP):
            return
        self._leave()
        self._parts.pop()
        if name == ".backward" and self._parts:  # what is left of the optimizer's step is its own work
            self._parts[-1] = OPTIMIZER
        if self._parts:
            self._enter(self._parts[-1], again=True)

    def describe(self) -> None:
        """The training is over; writes what there is, unless that was done."""
        if not self._done:
            self._finish()

    def _start_step(self) -> None:
        if self._step is not None:
            self._add_time(REST)
            self._timed.append(self._step)
            self._step = None
        if self._recorder is not None:
            self._recorded_steps += 1
            if self._recorded_steps == TRACED:
                self._finish()
                return
        self._steps_seen += 1
        if self._recorder is not None or self._steps_seen <= WARM_UP:
            return
        if len(self._timed) < TIMED:
            self._step = defaultdict(float)
            self._mark = self._now()
        else:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it tells on stderr that there is no GPU
            self._recorder = torch.profiler.profile()  # the CPU, and a GPU where there is one
            self._recorder.start()

    def _end_of_epoch(self) -> None:
        """The step that ended cannot be told from what follows it; and only steps are recorded."""
        self._step = None
        if self._recorder is not None:
            self._recorded_steps += 1
            self._finish()

    def _enter(self, part: str, again: bool = False) -> None:
        if self._step is not None:
            self._add_time(self._parts[-1] if self._parts and not again else REST)
        if self._recorder is not None and not again:
            self._ranges.append(torch.profiler.record_function(part))
            self._ranges[-1].__enter__()

    def _leave(self) -> None:
        if self._step is not None:
            self._add_time(self._parts[-1])
        if self._ranges:
            self._ranges.pop().__exit__(None, None, None)

    def _add_time(self, part: str) -> None:
        """What passed since the last mark belongs to this part."""
        assert self._step is not None
        now = self._now()
        self._step[part] += now - self._mark
        self._mark = now

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()

    def _finish(self) -> None:
        self._done = True
        while self._ranges:
            self._ranges.pop().__exit__(None, None, None)
        if self._recorder is not None:
            self._recorder.stop()
        if not self._timed or not self._recorded_steps:
            needed = WARM_UP + TIMED + TRACED
            log.warning("The run was too short to be profiled: it takes %d steps, some within one epoch.", needed)
            return
        assert self._recorder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        trace, table = self.folder / "trace.json.gz", self.folder / "table.md"
        self._recorder.export_chrome_trace(str(trace))
        steps = _steps_table(self._timed)
        table.write_text(f"{steps}\n{_operators_table(self._recorder.key_averages(), self._recorded_steps)}")
        log.info("%s\nProfile: %s, and %s for https://ui.perfetto.dev", steps, table, trace)


def _ending(action_name: str) -> str:
    return f".{action_name.rpartition('.')[2]}"


def _steps_table(timed: list[dict[str, float]]) -> str:
    """Where a step goes, as Markdown."""
    seconds = {part: sum(step[part] for step in timed) / len(timed) for part in EXPLAINED}
    total = sum(seconds.values())
    lines = [f"| part of a step | ms | share | (mean of {len(timed)} steps) |", "|---|---:|---:|---|"]
    lines += [
        f"| {part} | {1000 * seconds[part]:.3f} | {seconds[part] / total:.1%} | {explained} |"
        for part, explained in EXPLAINED.items()
    ]
    return "\n".join([*lines, f"| all | {1000 * total:.3f} | 100.0% | |", ""])


def _operators_table(events: Any, steps: int) -> str:
    """The operators that take longest, as Markdown."""
    events = [event for event in events if event.device_type.name == "CPU"]
    on_gpu = sum(event.self_device_time_total for event in events) > 0
    kinds = {"CPU": "self_cpu_time_total"} | ({"GPU": "self_device_time_total"} if on_gpu else {})
    totals = {kind: sum(getattr(event, name) for event in events) for kind, name in kinds.items()}
    events.sort(key=lambda event: getattr(event, kinds["GPU" if on_gpu else "CPU"]), reverse=True)
    titles = [f"self {kind} ms | share" for kind in kinds]
    lines = [
        f"| operator | calls | {' | '.join(titles)} | (of a step; {steps} recorded) |",
        "|---|" + "---:|" * (1 + 2 * len(kinds)) + "---|",
    ]
    for event in events[:OPERATORS]:
        times = [(getattr(event, name), totals[kind]) for kind, name in kinds.items()]
        figures = " | ".join(f"{us / steps / 1000:.3f} | {us / total:.1%}" for us, total in times)
        outside = "outside of operators" if event.key in EXPLAINED else ""
        lines.append(f"| `{event.key}` | {event.count / steps:g} | {figures} | {outside} |")
    return "\n".join([*lines, ""])
