import pytest
import torch

from cnnlab.speed import upper_bound


def test_the_measured_rates_are_plausible(monkeypatch):
    monkeypatch.setattr(upper_bound, "SECONDS_PER_RATE", 0.01)
    before = torch.get_float32_matmul_precision()
    rates = upper_bound.measure_rates(torch.device("cpu"))
    assert set(rates) == {"float32", "bfloat16", "copy"}
    assert 1e8 < rates["float32"] < 1e15
    assert 1e7 < rates["copy"] < 1e14
    assert torch.get_float32_matmul_precision() == before


def test_training_needs_three_times_the_multiplications():
    assert upper_bound.max_images_per_second(1e12, macs=500_000_000, training=False) == 1000
    assert upper_bound.max_images_per_second(1e12, macs=500_000_000, training=True) == pytest.approx(1000 / 3)


@pytest.mark.parametrize(
    ("precision", "device", "tf32", "name"),
    [
        ("32-true", "cpu", True, "float32"),
        ("32-true", "cuda", True, "tf32"),
        ("32-true", "cuda", False, "float32"),
        ("bf16-mixed", "cpu", True, "bfloat16"),
        ("16-mixed", "cuda", True, "bfloat16"),
    ],
)
def test_each_precision_is_bounded_by_its_own_rate(precision, device, tf32, name):
    assert upper_bound.rate_name(precision, device, tf32) == name
