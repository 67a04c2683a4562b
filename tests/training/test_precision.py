import platform
from collections.abc import Iterator

import pytest
import torch

from cnnlab.training import precision
from cnnlab.training.precision import auto_precision

AVX512, AMX = "_is_avx512_bf16_supported", "_is_amx_tile_supported"


@pytest.fixture(autouse=True)
def _ask_anew() -> Iterator[None]:
    auto_precision.cache_clear()
    yield
    auto_precision.cache_clear()  # what was pretended here is not true for other tests


@pytest.mark.parametrize(
    ("machine", "supported", "product_is_faster", "expected"),
    [
        ("x86_64", (AVX512, AMX), False, "bf16-mixed"),
        ("x86_64", (AMX,), False, "bf16-mixed"),
        ("AMD64", (AVX512,), True, "bf16-mixed"),
        ("x86_64", (AVX512,), False, "32-true"),
        ("x86_64", (), True, "32-true"),
        ("arm64", (AVX512, AMX), True, "32-true"),
    ],
)
def test_a_cpu_uses_bf16_if_that_is_faster(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    supported: tuple[str, ...],
    product_is_faster: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(precision, "_product_is_faster", lambda: product_is_faster)
    for name in (AVX512, AMX):
        monkeypatch.setattr(torch.cpu, name, lambda answer=name in supported: answer, raising=False)
    assert auto_precision("cpu") == expected


def test_a_processor_is_tested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = auto_precision("cpu")
    monkeypatch.setattr(platform, "machine", lambda: "unknown")
    assert auto_precision("cpu") == first


def test_a_cpu_uses_float32_if_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in (AVX512, AMX):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert auto_precision("cpu") == "32-true"


@pytest.mark.parametrize(
    ("bfloat16_seconds", "expected"), [(0.1, True), (10.0, False)], ids=["half the time", "twice the time"]
)
def test_the_faster_product_wins(monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, expected: bool) -> None:
    clock, product = [0.0], torch.mm

    def timed(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        clock[0] += bfloat16_seconds if a.dtype == torch.bfloat16 else 1.0
        return product(a, b)

    monkeypatch.setattr(torch, "mm", timed)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision._product_is_faster(size=8, tries=1) is expected


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(["cuda:0"], "bf16-mixed"), (["cuda:1"], "32-true"), (["cuda:0", "cuda:1"], "32-true"), (["cuda"], "bf16-mixed")],
)
def test_gpus_use_bf16_if_all_that_are_used_are_ampere_or_later(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], expected: str
) -> None:
    capabilities = {"cuda": (9, 0), "cuda:0": (8, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    assert auto_precision(*devices) == expected


def test_other_devices_use_float32() -> None:
    assert auto_precision("mps") == "32-true"
