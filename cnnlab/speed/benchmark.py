"""The figures of many combinations of model, batch size, precision and compilation, measured in turns."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median, quantiles
from typing import Any, Literal

from cnnlab.errors import RequestError
from cnnlab.speed.floor import attainable_images_per_second, rate_name
from cnnlab.speed.steps import time_machine, time_training
from cnnlab.speed.turns import Contestant, take_turns
from cnnlab.training.trainer import Compile

Settings = Mapping[str, Any]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Combination:
    """What one row of the benchmark measures."""

    model: str
    batch_size: int
    precision: str
    compile: str


def combinations(
    models: list[str], batch_sizes: list[int], precisions: list[Precision], compile: list[Compile]
) -> list[Combination]:
    """Every combination, models slowest.

    Raises:
        RequestError: where there is nothing to combine, or a batch without images.
    """
    for name, values in (
        ("models", models),
        ("batch_sizes", batch_sizes),
        ("precisions", precisions),
        ("compile", compile),
    ):
        if not values:
            raise RequestError(f"{name} must have at least one entry")
    if min(batch_sizes) < 1:
        raise RequestError(f"batch_sizes must be 1 or more, got {min(batch_sizes)}")
    return [Combination(*values) for values in product(models, batch_sizes, precisions, compile)]


def measure(
    rows: Sequence[Combination],
    settings: Settings,
    models: Mapping[str, Settings],
    rounds: int,
    steps: int | None,
    floor: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Times all combinations, each in a process of its own, in `rounds` rounds after one that warms up.

    Args:
        rows: what is measured.
        settings: those of a run, less the model.
        models: configuration of each model by its name.
        rounds: turns of each combination that count.
        steps: of a turn; None for as many as take about two seconds.
        floor: whether the device's own rates are measured beside them.
        say: told how far it is.

    Returns:
        The record: `machine`, `seconds` that it took, `load` (the machine's mean number of busy threads in the minute
        before and in the last one), `floor` (rates of the device or None), and `results`, one for each row, in which
        figures are medians over the rounds and missing where the combination failed, with `error`.

    Raises:
        RequestError: where a combination cannot be trained as it was asked for.
    """
    if rounds < 1 or (steps is not None and steps < 1):
        raise RequestError(f"{'rounds' if rounds < 1 else 'steps'} must be 1 or more")
    started, load = time.perf_counter(), _load()
    contestants = [
        Contestant(time_training, {"settings": _settings_of(row, settings, models), "steps": steps}) for row in rows
    ]
    machine = [Contestant(time_machine, {"settings": _settings_of(rows[0], settings, models)})] if floor else []
    answers = take_turns([*contestants, *machine], rounds + 1, say)
    rates = _best_rates(answers[-1]) if machine and answers[-1] else None
    tf32 = bool(settings["trainer"]["tf32"])
    return {
        "machine": next((given[0]["machine"] for given in answers[: len(rows)] if given), None),
        "seconds": round(time.perf_counter() - started, 1),
        "load": [load, _load()],
        "floor": rates,
        "results": [
            result(row, contestant, given, rates, tf32)
            for row, contestant, given in zip(rows, contestants, answers, strict=False)
        ],
    }


def result(
    row: Combination, contestant: Contestant, answers: list[dict[str, Any]], rates: dict[str, Any] | None, tf32: bool
) -> dict[str, Any]:
    """One row's figures.

    Args:
        row: the combination.
        contestant: the process that measured it.
        answers: what it gave: the first step, the turn that warmed up, and one for each round.
        rates: those of the device, or None.
        tf32: whether float32 was multiplied in TensorFloat-32 where the device has it.
    """
    figures: dict[str, Any] = {**asdict(row), "error": contestant.error}
    if len(answers) < 3:
        return figures
    first, warm_up, *turns = answers
    training, inference = (speed([turn[part] for turn in turns]) for part in ("train", "inference"))
    starting = first["train"]["seconds"] + warm_up["train"]["seconds"]
    figures |= {
        "precision": first["precision"],  # what `auto` stands for
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
            attainable = attainable_images_per_second(rates["rates"][name], first["macs"], is_training)
            part["floor_images_per_second"] = attainable
            part["floor_share"] = part["images_per_second"] / attainable
    return figures


def speed(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Images a second, and the duration of a step, with their spread.

    Args:
        turns: each with `images` and `seconds`, a list of the durations of its steps.

    Returns:
        `images_per_second`, the median of `rounds`, which are those of the turns; `step_seconds`, the median over all
        steps; `step_iqr`, the distance between their quartiles.
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
    """A run's settings for one combination."""
    data = {**settings["data"], "batch_size": row.batch_size, "eval_batch_size": row.batch_size}
    trainer = {
        **settings["trainer"],
        **{"precision": row.precision, "compile": row.compile},
        # Until it is told to stop, and steps alone.
        **{"max_epochs": 100_000, "limit_val_batches": 0, "enable_progress_bar": False},
    }
    return {**settings, "model": models[row.model], "data": data, "trainer": trainer, "logger": None, "callbacks": None}


def _best_rates(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    best = {name: max(answer["rates"][name] for answer in answers) for name in answers[0]["rates"]}
    return {"device_type": answers[0]["device_type"], "rates": best}


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
