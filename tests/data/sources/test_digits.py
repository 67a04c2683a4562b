import torch

from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source


def test_digits_are_1797_colour_images_of_32_pixels() -> None:
    data = load_images(find_source("digits", None), 32)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.pixels.shape[1:] == data.test.pixels.shape[1:] == (32, 32, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert data.classes == tuple("0123456789")
    assert int(data.train.pixels.max()) > 240
    assert torch.equal(data.train.pixels[..., 0], data.train.pixels[..., 2])
    assert 0.16 < len(data.test) / 1797 < 0.17
