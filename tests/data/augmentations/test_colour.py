import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from cnnlab.data.augmentations.colour import Colour, brighten, change_contrast, saturate, turn_hue
from cnnlab.data.augmentations.geometry import ONE
from cnnlab.data.epoch import Epoch, seeded_generator

FACTORS = (0.0, 0.3, 0.77, 1.0, 1.4, 1.99)


def noise(images: int, channels: int = 3) -> Tensor:
    """Return images of random values, and one that is white."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 16, 16, channels), dtype=torch.uint8, generator=generator)
    pixels[-1, :8] = 255
    return pixels


def fixed(values: tuple[float, ...]) -> Tensor:
    return (torch.tensor(values) * ONE).round().int()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        (brighten, functional.adjust_brightness, 1),
        # torchvision cuts grey off where Pillow rounds it: at most 1 of 255, which a factor of 1.99 doubles.
        (saturate, functional.adjust_saturation, 2),
        (change_contrast, functional.adjust_contrast, 2),
    ],
)
def test_each_image_gets_its_factor_as_with_torchvision(channels, ours, theirs, tolerance):
    pixels = noise(len(FACTORS), channels)
    found = ours(pixels, fixed(FACTORS))
    assert found.dtype == torch.uint8
    for image, changed, factor in zip(pixels, found, FACTORS, strict=True):
        expected = theirs(image.permute(2, 0, 1), factor).permute(1, 2, 0)
        assert (changed.int() - expected.int()).abs().max() <= tolerance
        by_pillow = functional.pil_to_tensor(theirs(functional.to_pil_image(image.permute(2, 0, 1)), factor))
        assert (changed.int() - by_pillow.permute(1, 2, 0).int()).abs().max() <= 1
    assert torch.equal(found[FACTORS.index(1.0)], pixels[FACTORS.index(1.0)])


def test_hue_is_turned_as_with_torchvision():
    turns = (-0.5, -0.21, 0.0, 0.1, 0.37, 0.5)
    pixels = noise(len(turns))
    found = turn_hue(pixels, fixed(turns))
    for image, changed, turn in zip(pixels, found, turns, strict=True):
        expected = functional.adjust_hue(image.permute(2, 0, 1), turn).permute(1, 2, 0)
        assert (changed.int() - expected.int()).abs().max() <= 1
    assert torch.equal(found[2], pixels[2])


def test_images_of_one_channel_have_no_colour():
    pixels = noise(2, channels=1)
    amounts = fixed((0.2, 0.4))
    assert torch.equal(Colour(0, 0, 1, 0.5, 1).apply(pixels, saturation=amounts, hue=amounts), pixels)


def test_amounts_are_drawn_within_their_limits():
    epoch = Epoch(5000, 32, seed=0, number=0)
    drawn = Colour(0.3, 0.2, 0.4, 0.1, 0.25).draw(seeded_generator(0, 0, 7), epoch)
    for name, low, high in (("brightness", 0.7, 1.3), ("contrast", 0.8, 1.2), ("hue", -0.1, 0.1)):
        values = drawn[name] / ONE
        assert low <= values.min() < low + 0.001
        assert high - 0.001 < values.max() <= high
    grey = drawn["saturation"] == 0
    assert 0.23 < grey.float().mean() < 0.27
    assert ((drawn["saturation"][~grey] / ONE - 1).abs() <= 0.4).all()


def test_only_what_is_asked_for_is_drawn():
    epoch = Epoch(10, 32, 0, 0)
    assert Colour(0, 0, 0, 0, 0).draw(torch.Generator(), epoch) == {}
    drawn = Colour(0, 0, 0, 0, 1).draw(torch.Generator(), epoch)
    assert set(drawn) == {"saturation"}
    (image, *_) = Colour(0, 0, 0, 0, 1).apply(noise(10), **drawn)
    assert torch.equal(image[..., 0], image[..., 2])
