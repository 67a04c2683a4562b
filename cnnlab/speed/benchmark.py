"""Measure many combinations of model, batch size, precision and compilation in turns."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median, quantiles
from typing import Annotated, Any, Literal

from cnnlab.limits import Count
from cnnlab.speed.steps import time_machine, time_training
from cnnlab.speed.turns import Contestant, take_turns
from cnnlab.speed.upper_bound import max_images_per_second, rate_name
from cnnlab.training.options import Compile

Settings = Mapping[str, Any]
Precision = Literal["auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed"]


@dataclass(frozen=True)
class Combination:
    """Model and options of one row of the benchmark."""

    model: str
    batch_size: int
    precision: str
    compile: str


def combinations(
    models: list[str],
    batch_sizes: Annotated[list[int], "[1, inf)"],
    precisions: list[Precision],
    compile: list[Compile],
) -> list[Combination]:
    """Return every combination, grouped by model."""
    return [Combination(*values) for values in product(models, batch_sizes, precisions, compile)]


def measure(
    rows: Sequence[Combination],
    settings: Settings,
    models: Mapping[str, Settings],
    rounds: Count,
    steps: Count | None,
    floor: bool,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """Time all combinations, each in its own process, in `rounds` rounds after a warm-up.

    Args:
        rows: combinations to measure.
        settings: settings of a run without the model.
        models: configuration of each model, by name.
        rounds: number of turns of each combination that count.
        steps: steps in a turn; None for about two seconds of steps.
        floor: whether to measure the upper bound of the device too.
        show: called with a line of progress.

    Returns:
        `machine`; `seconds` of the measurement; `load`, the mean number of busy threads of the machine in the minute
        before and in the last minute; `floor`, the rates of the device or None; and `results`, one for each row.
        Figures are medians over the rounds. A combination that failed has an `error` and no figures.

    Raises:
        RequestError: if a combination cannot be trained.
    """
    started, load = time.perf_counter(), os.getloadavg()[0]
    contestants = [
        Contestant(time_training, {"settings": _settings_of(row, settings, models), "steps": steps}) for row in rows
    ]
    machine = [Contestant(time_machine, {"settings": _settings_of(rows[0], settings, models)})] if floor else []
    reports = take_turns([*contestants, *machine], rounds + 1, show)
    rates = None
    if machine and reports[-1]:
        turns = [report["rates"] for report in reports[-1]]
        best = {name: max(turn[name] for turn in turns) for name in turns[0]}
        rates = {"device_type": reports[-1][0]["device_type"], "rates": best}
    tf32 = bool(settings["trainer"]["tf32"])
    return {
        "machine": next((own[0]["machine"] for own in reports[: len(rows)] if own), None),
        "seconds": round(time.perf_counter() - started, 1),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "floor": rates,
        "results": [result(*measured, rates, tf32) for measured in zip(rows, contestants, reports, strict=False)],
    }


def result(
    row: Combination, contestant: Contestant, reports: list[dict[str, Any]], rates: dict[str, Any] | None, tf32: bool
) -> dict[str, Any]:
    """Compute the figures of one row from the reports of its process: of the first step, the warm-up and each round.

    `rates` are those of the device; `tf32`: float32 was multiplied in TensorFloat-32 if the device supports it.
    """
    figures: dict[str, Any] = {**asdict(row), "error": contestant.error}
    if len(reports) < 3:
        return figures
    first, warm_up, *turns = reports
    training, inference = (speed([turn[part] for turn in turns]) for part in ("train", "inference"))
    starting = first["train"]["seconds"] + warm_up["train"]["seconds"]
    figures |= {
        "precision": first["precision"],  # the one that `auto` has chosen
        **{key: first[key] for key in ("parameters", "macs", "data_fingerprint")},
        "training": training,
        "inference": inference,
        "peak_memory_bytes": turns[-1]["peak_memory_bytes"],
        "startup_seconds": contestant.startup_seconds,
        "compile_seconds": max(0.0, sum(starting) - len(starting) * training["step_seconds"]),
    }
    if rates:
        name = rate_name(first["precision"], rates["device_type"], tf32)
        for part, is_training in ((training, True), (inference, False)):
            bound = max_images_per_second(rates["rates"][name], first["macs"], is_training)
            part["floor_images_per_second"] = bound
            part["floor_share"] = part["images_per_second"] / bound
    return figures


def speed(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compute speed and its spread from turns with `images` and `seconds`, a list of the durations of their steps.

    Returns `rounds`, the images per second of each turn, and `images_per_second`, their median; `step_seconds`, the
    median over all steps, and `step_iqr`, the distance between their quartiles; `steps`, their number.
    """
    rounds = [turn["images"] / sum(turn["seconds"]) for turn in turns]
    steps = [seconds for turn in turns for seconds in turn["seconds"]]
    lower, _, upper = quantiles(steps, n=4, method="inclusive") if len(steps) > 1 else (steps[0],) * 3
    return {
        "images_per_second": median(rounds),
        "rounds": rounds,
        "step_seconds": median(steps),
        "step_iqr": upper - lower,
        "steps": len(steps),
    }


def _settings_of(row: Combination, settings: Settings, models: Mapping[str, Settings]) -> dict[str, Any]:
    data = {**settings["data"], "batch_size": row.batch_size, "eval_batch_size": row.batch_size}
    endless = {"max_epochs": 100_000, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = {**settings["trainer"], **endless, "precision": row.precision, "compile": row.compile}
    return {**settings, "model": models[row.model], "data": data, "trainer": trainer, "logger": None, "callbacks": None}
