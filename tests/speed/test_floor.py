import pytest
import torch

from cnnlab.speed import floor


def test_the_rates_are_those_of_a_computer(monkeypatch):
    monkeypatch.setattr(floor, "SECONDS", 0.01)
    before = torch.get_float32_matmul_precision()
    rates = floor.measure_rates(torch.device("cpu"))
    assert set(rates) == {"float32", "bfloat16", "copy"}
    assert 1e8 < rates["float32"] < 1e15
    assert 1e7 < rates["copy"] < 1e14
    assert torch.get_float32_matmul_precision() == before


def test_training_takes_three_times_the_multiplications():
    assert floor.attainable_images_per_second(1e12, macs=500_000_000, training=False) == 1000
    assert floor.attainable_images_per_second(1e12, macs=500_000_000, training=True) == pytest.approx(1000 / 3)


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
def test_a_precision_is_held_against_its_own_rate(precision, device, tf32, name):
    assert floor.rate_name(precision, device, tf32) == name
