"""Measure where the time of a training step goes (`trainer.profile=true`).

Lightning's PyTorchProfiler (2.6.6) is not used. With a schedule of a few steps, it fails in the test after the
training; it slows down every step of the run; and on a GPU, it measures when a part was queued, not how long it took.
"""

import logging
import os
import time
from pathlib import Path

import torch
from lightning.pytorch.profilers import Profiler

log = logging.getLogger(__name__)

WARMUP_STEPS, TIMED_STEPS, TRACED_STEPS = 10, 20, 5  # in this order
TABLE_ROWS = 30

# Parts of a step and their explanations, by the end of Lightning's action name. "optimizer_step" contains forward and
# backward; "other" is no action.
PARTS = {
    "train_dataloader_next": ("loader", "making the batch, or waiting for it"),
    "training_step": ("forward", "network, loss, running totals"),
    "backward": ("backward", "gradients"),
    "optimizer_step": ("optimizer", "updating weights, clearing and clipping gradients"),
    "other": ("other", "Lightning, schedule, averaging, record, progress"),
}
EPOCH_ENDS = ("on_validation_start", "on_train_epoch_end")


class StepProfiler(Profiler):
    """Time the parts of a few training steps, then trace the operators of a few more.

    Writes `table.md` with both results, and `trace.json.gz` for https://ui.perfetto.dev, into a folder. Parts are timed
    without tracing, which slows small operators down. On a GPU, the clock waits for the device after each part, so the
    timed steps take longer than others. After the last traced step, the profiler does nothing.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._done = False
        self._steps = self._traced_steps = 0  # started; completed and traced
        self._tracer: torch.profiler.profile | None = None
        self._parts = ["other"]  # the current part is the last, the parts around it come before
        self._ranges: list[torch.profiler.record_function] = []  # the same parts in the trace
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._last_time: float | None = None  # None while no step is timed

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Leave the profiling of a run with several processes to the first one."""
        super().setup(stage, local_rank, log_dir)
        self._done = self._done or bool(local_rank)

    def start(self, action_name: str) -> None:
        """Start a step or a part of one, if this action does."""
        name = action_name.rpartition(".")[2]
        if not self._done and (name == "train_dataloader_next" or name in EPOCH_ENDS):
            self._end_step(ends_epoch=name in EPOCH_ENDS)
        if self._done or name not in PARTS:
            return
        if name == "train_dataloader_next":
            self._start_step()
        self._count_time()
        self._parts.append(name)
        self._ranges.append(torch.profiler.record_function(PARTS[name][0]))
        self._ranges[-1].__enter__()

    def stop(self, action_name: str) -> None:
        """End a part of a step, if this action is one."""
        if not self._done and action_name.rpartition(".")[2] in PARTS:
            self._count_time()
            self._parts.pop()
            self._ranges.pop().__exit__(None, None, None)

    def describe(self) -> None:
        """Write the files, if the training ended before the last step to trace."""
        if not self._done:
            self._finish()

    def _start_step(self) -> None:
        self._steps += 1
        if self._steps > WARMUP_STEPS + TIMED_STEPS and self._tracer is None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it warns if there is no GPU
            self._tracer = torch.profiler.profile()
            self._tracer.start()
        elif WARMUP_STEPS < self._steps <= WARMUP_STEPS + TIMED_STEPS:
            self._last_time = self._now()

    def _end_step(self, ends_epoch: bool) -> None:
        """End a step, if one has started. At the end of an epoch, end the trace too: only training belongs in it."""
        self._count_time()
        self._last_time = None
        if self._tracer is not None:
            self._traced_steps += 1
            if ends_epoch or self._traced_steps == TRACED_STEPS:
                self._finish()

    def _count_time(self) -> None:
        """Add the time since the last call to the current part, if this step is timed."""
        if self._last_time is not None:
            now = self._now()
            self._seconds[self._parts[-1]] += now - self._last_time
            self._last_time = now

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()

    def _finish(self) -> None:
        self._done = True
        if self._tracer is None or not self._traced_steps:
            needed = WARMUP_STEPS + TIMED_STEPS + TRACED_STEPS
            log.warning("The run was too short to be profiled: it takes %d steps, some within one epoch.", needed)
            return
        self._tracer.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        table, trace = self.folder / "table.md", self.folder / "trace.json.gz"
        self._tracer.export_chrome_trace(str(trace))
        operators = self._tracer.key_averages()
        on_gpu = any(operator.self_device_time_total for operator in operators)
        by_time = operators.table(f"self_{'device' if on_gpu else 'cpu'}_time_total", TABLE_ROWS)
        parts = _parts_table(self._seconds)
        text = f"{parts}\n\nOperators of {self._traced_steps} steps:\n\n```\n{by_time.strip()}\n```\n"
        table.write_text(text, encoding="utf-8")
        log.info("%s\n\nProfile: %s, and %s for https://ui.perfetto.dev", parts, table, trace)


def _parts_table(seconds: dict[str, float]) -> str:
    """Return a Markdown table of the time per step and part."""
    ms = {name: 1000 * total / TIMED_STEPS for name, total in seconds.items()}
    step = sum(ms.values())
    lines = [f"| part of a step | ms | share | (mean of {TIMED_STEPS} steps) |", "|---|---:|---:|---|"]
    for name, (part, explanation) in PARTS.items():
        lines.append(f"| {part} | {ms[name]:.3f} | {ms[name] / step:.1%} | {explanation} |")
    return "\n".join([*lines, f"| all | {step:.3f} | 100.0% | |"])
