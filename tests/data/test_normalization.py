import pytest
import torch

from cnnlab.data.images import ImageData
from cnnlab.data.normalization import channel_statistics


def test_channel_statistics_equal_the_plain_computation(sample: ImageData) -> None:
    values = sample.train.pixels.double().flatten(0, 2) / 255
    mean, std = channel_statistics(sample.train.pixels.split(50))
    torch.testing.assert_close(mean, values.mean(dim=0).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(std, values.std(dim=0, unbiased=False).float(), rtol=1e-6, atol=0)


def test_a_constant_channel_has_the_deviation_one() -> None:
    pixels = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    pixels[:2, ..., 1] = 255
    mean, std = channel_statistics([pixels])
    assert mean.tolist() == pytest.approx([0, 0.5, 0])
    assert std.tolist() == pytest.approx([1, 0.5, 1])
