from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from cnnlab.data.augmentations.policy import LEVELS, OPERATIONS, Policy, amounts
from cnnlab.data.epoch import Epoch, seeded_generator

NAMES = tuple(OPERATIONS)
# torchvision's names of the operations.
THEIRS = {"saturation": "Color", "autocontrast": "AutoContrast"}
# Grey is rounded here, as in Pillow, and cut off in torchvision; floats may fall short of a whole number.
TOLERANCE = {"saturation": 2, "contrast": 2, "brightness": 1, "sharpness": 1, "autocontrast": 1}


def noise(channels: int, images: int = 3, size: int = 32) -> Tensor:
    """Return noise that leaves some values out, smooth colours, and one colour."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(20, 200, (images, size, size, channels), dtype=torch.uint8, generator=generator)
    pixels[0] = pixels[0] // 60 * 60
    pixels[1, ..., 0] = (torch.arange(size)[:, None] + 4 * torch.arange(size)) % 256
    pixels[-1, ..., -1] = 77
    return pixels


def policy_of(name: str, level: int, sign: int, images: int, wide: bool) -> dict[str, Tensor]:
    """Return the draws of one operation for all images."""
    most = OPERATIONS[name][not wide] * (32 if "translate" in name and not wide else 1)
    strengths = torch.full((images,), most * level / LEVELS, dtype=torch.float64)
    amount = torch.zeros(images, 1, 6, dtype=torch.int32)
    amount[:, 0] = amounts(name, strengths, torch.full((images,), sign), 32)
    return {"operation": torch.full((images, 1), NAMES.index(name)), "amount": amount}


def by_torchvision(pixels: Tensor, name: str, level: int, sign: int, wide: bool) -> Tensor:
    """Apply the operation of torchvision's policy to each image."""
    kind: Any = v2.TrivialAugmentWide() if wide else v2.RandAugment()
    theirs = THEIRS.get(name) or name.title().replace("_", "")
    function, signed = kind._AUGMENTATION_SPACE[theirs]
    magnitudes = function(LEVELS + 1, 32, 32)
    magnitude = 0.0 if magnitudes is None else float(magnitudes[level]) * (sign if signed else 1)
    changed = [
        kind._apply_image_or_video_transform(image.permute(2, 0, 1), theirs, magnitude, "nearest", {})
        for image in pixels
    ]
    return torch.stack(changed).permute(0, 2, 3, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wide", [True, False], ids=["trivial", "rand"])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_that_of_torchvision(name: str, wide: bool, channels: int) -> None:
    pixels = noise(channels)
    for level, sign in ((0, 1), (4, -1), (10, 1), (17, -1), (23, 1), (30, -1), (30, 1)):
        found = Policy("trivial" if wide else "rand", 1, level).apply(
            pixels, **policy_of(name, level, sign, len(pixels), wide)
        )
        expected = by_torchvision(pixels, name, level, sign, wide)
        assert found.dtype == torch.uint8
        different = (found.int() - expected.int()).abs()
        if name.startswith(
            ("shear", "rotate")
        ):  # halfway between two pixels (a diagonal at 135 degrees), either is right
            assert (different > 0).any(dim=-1).float().mean() < 0.03, (level, sign)
        elif name == "solarize":  # torchvision's thresholds in float32 miss whole numbers
            assert (different > 0).float().mean() < 0.02
        else:
            assert different.max() <= TOLERANCE.get(name, 0), (level, sign)


def test_each_image_gets_its_own_operation_and_the_batch_keeps_its_order() -> None:
    pixels = noise(3, images=40)
    draws = Policy("trivial", 1, 0).draw(seeded_generator(0, 0, 8), Epoch(40, 32, 0, 0))
    together = Policy("trivial", 1, 0).apply(pixels, **draws)
    alone = [
        Policy("trivial", 1, 0).apply(pixels[i : i + 1], **{key: value[i : i + 1] for key, value in draws.items()})
        for i in range(40)
    ]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(pixels, noise(3, images=40))


def test_operations_levels_and_directions_are_equally_frequent() -> None:
    images = 60_000
    draws = Policy("trivial", 1, 0).draw(seeded_generator(0, 0, 8), Epoch(images, 32, 0, 0))
    operation, amount = draws["operation"][:, 0], draws["amount"][:, 0]
    counts = operation.bincount(minlength=len(NAMES)).double()
    expected = images / len(NAMES)
    assert float(((counts - expected) ** 2 / expected).sum()) < 34.5  # chi-squared with 13 degrees: p = 0.001
    factors = amount[operation == NAMES.index("brightness"), 0].double() / 65536
    levels = ((factors - 1).abs() / 0.99 * LEVELS).round().long().bincount()
    assert len(levels) == LEVELS + 1
    assert float(((levels - levels.double().mean()) ** 2 / levels.double().mean()).sum()) < 59.7  # 30 degrees
    assert (factors.min(), factors.max()) == (pytest.approx(0.01, abs=1e-4), pytest.approx(1.99, abs=1e-4))
    assert 0.47 < (factors > 1).sum() / (factors != 1).sum() < 0.53
    kept = amount[operation == NAMES.index("posterize"), 0].unique()
    assert kept.tolist() == [192, 224, 240, 248, 252, 254, 255]  # 2 to 8 bits
    shifted = amount[operation == NAMES.index("translate_x"), 2].double() / 65536 - 0.5
    assert (shifted.min(), shifted.max()) == (-32, 32)


def test_rand_draws_several_operations_of_one_strength() -> None:
    epoch = Epoch(20_000, 32, 0, 0)
    draws = Policy("rand", 3, 15).draw(seeded_generator(0, 0, 8), epoch)
    operation, amount = draws["operation"], draws["amount"]
    assert operation.shape == (20_000, 3)
    assert all(len(column.unique()) == len(NAMES) for column in operation.unbind(1))
    assert abs(float(torch.corrcoef(operation.T.double())[0, 1])) < 0.03
    factors = amount[operation == NAMES.index("contrast")][:, 0].unique() / 65536
    assert factors.tolist() == pytest.approx([0.55, 1.45], abs=1e-4)


def test_operations_follow_each_other() -> None:
    pixels = noise(3, images=5)
    draws = Policy("rand", 2, 20).draw(seeded_generator(3, 1, 8), Epoch(5, 32, 3, 1))
    once = Policy("rand", 2, 20).apply(pixels, **{key: value[:, :1] for key, value in draws.items()})
    twice = Policy("rand", 2, 20).apply(once, **{key: value[:, 1:] for key, value in draws.items()})
    assert torch.equal(Policy("rand", 2, 20).apply(pixels, **draws), twice)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images_are_changed_too(size: int) -> None:
    draws = Policy("trivial", 1, 0).draw(seeded_generator(0, 0, 8), Epoch(200, size, 0, 0))
    pixels = torch.full((200, size, size, 3), 90, dtype=torch.uint8)
    assert Policy("trivial", 1, 0).apply(pixels, **draws).shape == pixels.shape


def test_nothing_is_drawn_unless_asked_for() -> None:
    assert Policy("none", 2, 9).draw(torch.Generator(), Epoch(10, 32, 0, 0)) == {}
