import pytest
import torch
from torch import Tensor

from cnnlab.data.augmentations.crop import Crop, PaddingMode
from cnnlab.data.epoch import Epoch

PADDING_MODES: tuple[PaddingMode, ...] = ("reflect", "zeros")


def some_pixels(images: int = 6, size: int = 8) -> Tensor:
    return torch.randint(1, 256, (images, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def padded_by_torch(pixels: Tensor, pad: int, mode: PaddingMode) -> Tensor:
    planes = pixels.permute(0, 3, 1, 2).float()
    name = "reflect" if mode == "reflect" else "constant"
    return torch.nn.functional.pad(planes, [pad] * 4, mode=name).permute(0, 2, 3, 1).to(torch.uint8)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("pad", [1, 2, 4, 7])
def test_padding_equals_torchs(mode: PaddingMode, pad: int) -> None:
    pixels = some_pixels()
    assert torch.equal(Crop(pad, mode).prepare(pixels), padded_by_torch(pixels, pad, mode))


def test_no_padding_leaves_images_alone() -> None:
    pixels = some_pixels()
    assert torch.equal(Crop(0, "reflect").prepare(pixels), pixels)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_crop_from_the_middle_is_the_identity(mode: PaddingMode) -> None:
    pixels = some_pixels()
    crop = Crop(3, mode)
    assert torch.equal(crop.apply(crop.prepare(pixels), None, torch.full((6, 2), 3)), pixels)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_crop_equals_slicing(mode: PaddingMode) -> None:
    pixels = some_pixels()
    crop = Crop(3, mode)
    reference = padded_by_torch(pixels, 3, mode)
    corners = torch.cartesian_prod(torch.arange(7), torch.arange(7))  # all possible corners
    indices = torch.arange(len(corners)) % 6
    expected = [
        reference[image, row : row + 8, column : column + 8]
        for image, (row, column) in zip(indices.tolist(), corners.tolist(), strict=True)
    ]
    assert torch.equal(crop.apply(crop.prepare(pixels), indices, corners), torch.stack(expected))


def test_without_padding_the_chosen_images_are_whole() -> None:
    crop, pixels = Crop(0, "reflect"), some_pixels()
    assert crop.draw(torch.Generator(), Epoch(6, 8, seed=0, number=0)) == {}
    assert torch.equal(crop.apply(pixels, torch.tensor([4, 1])), pixels[[4, 1]])
    assert torch.equal(crop.apply(pixels, None), pixels)


def test_corners_cover_every_offset() -> None:
    corners = Crop(4, "reflect").draw(torch.Generator(), Epoch(5000, 32, seed=0, number=0))["corners"]
    assert corners.unique().tolist() == list(range(9))
