from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation, PaddingMode, crop, cutout_, flip, seeded_generator

PADDING_MODES: tuple[PaddingMode, ...] = ("reflect", "zeros")


def some_pixels(images: int = 6, size: int = 8) -> Tensor:
    return torch.randint(1, 256, (images, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def naively_padded(pixels: Tensor, pad: int, mode: PaddingMode) -> Tensor:
    planes = pixels.permute(0, 3, 1, 2).float()
    name = "reflect" if mode == "reflect" else "constant"
    return torch.nn.functional.pad(planes, [pad] * 4, mode=name).permute(0, 2, 3, 1).to(torch.uint8)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("pad", [1, 2, 4, 7])
def test_padding_equals_torchs(mode: PaddingMode, pad: int) -> None:
    pixels = some_pixels()
    assert torch.equal(Augmentation(pad=pad, padding_mode=mode).padded(pixels), naively_padded(pixels, pad, mode))


def test_no_padding_leaves_images_alone() -> None:
    pixels = some_pixels()
    assert torch.equal(Augmentation(pad=0).padded(pixels), pixels)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_crop_from_the_middle_is_the_identity(mode: PaddingMode) -> None:
    pixels = some_pixels()
    padded = Augmentation(pad=3, padding_mode=mode).padded(pixels)
    assert torch.equal(crop(padded, torch.arange(6), torch.full((6, 2), 3), size=8), pixels)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_crop_equals_slicing(mode: PaddingMode) -> None:
    pixels = some_pixels()
    padded = Augmentation(pad=3, padding_mode=mode).padded(pixels)
    reference = naively_padded(pixels, 3, mode)
    corners = torch.cartesian_prod(torch.arange(7), torch.arange(7))  # every one that there is
    indices = torch.arange(len(corners)) % 6
    expected = [
        reference[image, row : row + 8, column : column + 8]
        for image, (row, column) in zip(indices.tolist(), corners.tolist(), strict=True)
    ]
    assert torch.equal(crop(padded, indices, corners, size=8), torch.stack(expected))


def test_flip_mirrors_the_chosen_images_left_to_right() -> None:
    pixels = some_pixels()
    mirrored = torch.tensor([True, False, True, True, False, False])
    result = flip(pixels, mirrored)
    for image in range(6):
        for column in range(8):
            expected = pixels[image, :, 7 - column if mirrored[image] else column]
            assert torch.equal(result[image, :, column], expected)


@pytest.mark.parametrize("side", [1, 3, 4, 20])
def test_cutout_blanks_a_square_that_may_reach_over_the_border(side: int) -> None:
    centres = torch.cartesian_prod(torch.arange(8), torch.arange(8))  # borders and corners are among them
    images = torch.rand(len(centres), 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        top, left = row - side // 2, column - side // 2
        image[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
    assert torch.equal(cutout_(images, centres, side), expected)


def test_random_flips_are_drawn_anew_in_every_epoch() -> None:
    augmentation = Augmentation(flip="random")
    draws = [augmentation.draw(1000, 32, seed=0, epoch=epoch).flip for epoch in range(2)]
    assert draws[0] is not None
    assert draws[1] is not None
    assert 400 < draws[0].sum() < 600
    assert 400 < (draws[0] ^ draws[1]).sum() < 600


def test_alternating_flips_mirror_every_image_in_exactly_every_second_epoch() -> None:
    augmentation = Augmentation(flip="alternating")
    draws = [augmentation.draw(1000, 32, seed=0, epoch=epoch).flip for epoch in range(6)]
    mirrored = torch.stack([draw for draw in draws if draw is not None])
    assert mirrored.shape == (6, 1000)
    assert (mirrored[1:] ^ mirrored[:-1]).all()
    assert 400 < mirrored[0].sum() < 600


def test_draws_cover_every_offset_and_every_centre() -> None:
    draws = Augmentation(pad=4, cutout=8).draw(5000, 32, seed=0, epoch=0)
    assert draws.crop is not None
    assert draws.cutout is not None
    assert draws.crop.unique().tolist() == list(range(9))
    assert draws.cutout.unique().tolist() == list(range(32))
    assert draws.flip is None


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    augmentation = Augmentation(pad=4, cutout=8, flip="random")

    def drawn(seed: int, epoch: int) -> Tensor:
        draws = augmentation.draw(50, 32, seed, epoch)
        assert draws.crop is not None
        assert draws.cutout is not None
        assert draws.flip is not None
        return torch.cat([draws.crop, draws.cutout, draws.flip[:, None].long()], dim=1)

    first = drawn(3, 5)
    torch.manual_seed(99)
    assert torch.equal(drawn(3, 5), first)
    for other in (drawn(3, 6), drawn(4, 5), drawn(5, 3)):
        assert not torch.equal(other, first)


def test_generators_differ_in_each_argument() -> None:
    numbers = {
        tuple(torch.randint(2**31, (4,), generator=seeded_generator(seed, epoch, stream)).tolist())
        for seed in range(6)
        for epoch in range(6)
        for stream in range(3)
    }
    assert len(numbers) == 6 * 6 * 3


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63 - 1])
def test_any_seed_is_taken(seed: int) -> None:
    assert 0 <= torch.rand((), generator=seeded_generator(seed, 0, 0)) < 1


@pytest.mark.parametrize("options", [{"pad": -1}, {"cutout": -1}])
def test_negative_pixels_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be 0 or more pixels, got -1"):
        Augmentation(**options)
