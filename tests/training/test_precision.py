import platform

import pytest
import torch

from cnnlab.training.precision import auto_precision

CPU_QUESTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize(
    ("machine", "supported", "expected"),
    [
        ("x86_64", CPU_QUESTIONS, "bf16-mixed"),
        ("AMD64", CPU_QUESTIONS[:1], "bf16-mixed"),
        ("x86_64", CPU_QUESTIONS[1:], "bf16-mixed"),
        ("x86_64", (), "32-true"),
        ("arm64", CPU_QUESTIONS, "32-true"),
    ],
)
def test_cpu_computes_in_bf16_where_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, supported: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for name in CPU_QUESTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda answer=name in supported: answer, raising=False)
    assert auto_precision("cpu") == expected


def test_cpu_of_a_torch_that_cannot_be_asked_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in CPU_QUESTIONS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert auto_precision("cpu") == "32-true"


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")]
)
def test_gpu_computes_in_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert auto_precision("cuda") == expected


def test_other_devices_compute_in_float32() -> None:
    assert auto_precision("mps") == "32-true"
