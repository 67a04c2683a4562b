import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.training.compiled import check_compile
from cnnlab.training.trainer import build_trainer, training_devices


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("devices", "numbers"), [(1, [0]), (2, [0, 1]), ("auto", [0, 1]), (-1, [0, 1]), ([1], [1]), ("0,1", [0, 1])]
)
def test_gpus_are_counted_as_lightning_counts_them(two_gpus: None, devices: Any, numbers: list[int]) -> None:
    assert training_devices({"devices": devices}) == [torch.device("cuda", number) for number in numbers]


@pytest.mark.parametrize("devices", [3, [0, 2], "0,7"])
def test_a_missing_gpu_is_explained(two_gpus: None, devices: Any) -> None:
    message = re.escape(f"devices must be among the 2 GPU(s) of this machine, got {devices!r}")
    with pytest.raises(ValueError, match=message):
        training_devices({"devices": devices, "accelerator": "gpu"})


def test_the_cpu_runs_as_many_processes_as_requested() -> None:
    cpu = {"accelerator": "cpu"}
    assert [len(training_devices({**cpu, "devices": devices})) for devices in (1, 3, "auto")] == [1, 3, 1]


@pytest.mark.parametrize("devices", [0, -2, "many", [], 1.5, None])
def test_devices_of_unknown_form_are_refused(devices: Any) -> None:
    with pytest.raises(ValueError, match="devices must be a number, a list such as"):
        training_devices({"devices": devices})


def test_a_run_in_one_process_needs_no_strategy_for_several(tmp_path: Path) -> None:
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "precision": "32-true"}
    strategies = [build_trainer({**options, "strategy": name}, [], [], tmp_path).strategy for name in ("ddp", "auto")]
    assert type(strategies[0]) is type(strategies[1])


@pytest.mark.parametrize(
    ("options", "kind", "processes", "message"),
    [
        ({"compile": "reduce-overhead", "accumulate_grad_batches": 4}, "cuda", 1, "does not work with compile=reduce"),
        ({"compile": "max-autotune", "accumulate_grad_batches": 4}, "cuda", 1, "its CUDA graphs overwrite gradients"),
        ({"compile": "max-autotune", "accumulate_grad_batches": 1}, "cuda", 1, None),
        ({"compile": "reduce-overhead", "accumulate_grad_batches": 4}, "cpu", 1, None),
        ({"compile": "default", "accumulate_grad_batches": 4}, "cuda", 1, None),
        ({"compile_step": True}, "cpu", 1, "compile_step=true needs a mode, such as trainer.compile=default"),
        (
            {"compile": "default", "compile_step": True, "accumulate_grad_batches": 2},
            "cpu",
            1,
            "accumulate_grad_batches",
        ),
        ({"compile": "default", "compile_step": True}, "cpu", 2, "compile_step=true does not work with devices=2"),
        ({"compile": "default", "compile_step": True, "precision": "16-mixed"}, "cuda", 1, "precision=16-mixed"),
        ({"compile": "default", "compile_step": True, "precision": "bf16-true"}, "cuda", 1, None),
    ],
)
def test_compiling_that_does_not_fit_is_refused(options, kind, processes, message) -> None:
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        check_compile(options, kind, processes)


def test_deterministic_runs_do_not_choose_algorithms_by_speed(tmp_path: Path) -> None:
    options = {"accelerator": "cpu", "max_epochs": 1, "benchmark": True}
    before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    try:
        build_trainer(options, [], [], tmp_path)
        assert torch.backends.cudnn.benchmark
        build_trainer({**options, "deterministic": True}, [], [], tmp_path)
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.use_deterministic_algorithms(before[1])
