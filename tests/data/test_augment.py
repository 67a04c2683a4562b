from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.data.augment import (
    Augmentation,
    Mixing,
    PaddingMode,
    blank_,
    crop,
    cutout_,
    flip,
    mix,
    mix_labels,
    resize,
    seeded_generator,
)

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


def boxes_of(augmentation: Augmentation, size: int = 32, images: int = 4000) -> Tensor:
    drawn = augmentation.draw(images, size, seed=0, epoch=0).erased
    assert drawn is not None
    return drawn


def mixing_of(augmentation: Augmentation, epoch: int = 0, images: int = 4000) -> Mixing:
    drawn = augmentation.draw(images, 32, seed=0, epoch=epoch).mixing
    assert drawn is not None
    return drawn


def areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 32**2


def test_blanking_sets_the_box_alone() -> None:
    boxes = torch.tensor([[0, 0, 8, 8], [2, 1, 5, 7], [3, 3, 3, 3], [7, 0, 8, 1]])
    expected = torch.ones(4, 3, 8, 8)
    for image, (top, left, bottom, right) in zip(expected, boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = 0
    assert torch.equal(blank_(torch.ones(4, 3, 8, 8), boxes), expected)


def test_random_erasing_draws_rectangles_of_the_papers_sizes_inside_the_image() -> None:
    boxes = boxes_of(Augmentation(erasing=0.4))
    assert boxes.min() >= 0
    assert boxes.max() <= 32
    erased = areas(boxes) > 0
    assert 0.35 < erased.float().mean() < 0.45
    share = areas(boxes[erased])
    assert share.min() > 0.015
    assert 0.35 < share.max() < 0.42
    heights, widths = (boxes[erased][:, 2 + i] - boxes[erased][:, i] for i in range(2))
    assert 0.25 < (heights / widths).min() < 0.4
    assert 2.5 < (heights / widths).max() < 4
    assert boxes[erased][:, :2].min() == 0  # every border is reached
    assert boxes[erased][:, 2:].max() == 32


def test_erasing_always_or_never() -> None:
    assert (areas(boxes_of(Augmentation(erasing=1.0))) > 0).all()
    assert Augmentation(erasing=0.0).draw(10, 32, seed=0, epoch=0).erased is None


def test_every_image_is_the_partner_of_one_and_of_another_in_every_epoch() -> None:
    mixings = [mixing_of(Augmentation(mixup=0.2), epoch) for epoch in range(2)]
    for mixing in mixings:
        assert torch.equal(mixing.partner.sort().values, torch.arange(4000))
    assert not torch.equal(mixings[0].partner, mixings[1].partner)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_weights_are_beta_distributed_and_leave_no_box(alpha: float) -> None:
    mixing = mixing_of(Augmentation(mixup=alpha), images=20000)
    assert mixing.weight.mean() == pytest.approx(0.5, abs=0.02)
    assert mixing.weight.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    assert (areas(mixing.box) == 0).all()


def test_cutmix_areas_are_beta_distributed_and_leave_the_weight_alone() -> None:
    mixing = mixing_of(Augmentation(cutmix=1.0), images=20000)
    assert (mixing.weight == 1).all()
    assert mixing.box.min() == 0
    assert mixing.box.max() == 32
    inside = (mixing.box[:, :2] > 0).all(1) & (mixing.box[:, 2:] < 32).all(1)
    heights, widths = (mixing.box[:, 2 + i] - mixing.box[:, i] for i in range(2))
    assert ((heights - widths).abs()[inside] <= 1).all()  # square, but for rounding and borders
    # A side s is cut at the borders to s - s^2 / 4 on average, and s^2 is uniform: 1/2 - 1/5 + 1/48 of the image.
    assert areas(mixing.box).mean() == pytest.approx(0.321, abs=0.01)


def test_with_both_each_image_has_one_and_the_probability_is_kept() -> None:
    mixing = mixing_of(Augmentation(mixup=1.0, cutmix=1.0, mix_probability=0.6))
    by_weight, by_box = mixing.weight < 1, areas(mixing.box) > 0
    assert not (by_weight & by_box).any()
    assert by_weight.float().mean() == pytest.approx(0.3, abs=0.03)
    assert by_box.float().mean() == pytest.approx(0.3, abs=0.03)


def test_nothing_is_mixed_without_being_asked() -> None:
    for augmentation in (Augmentation(), Augmentation(mixup=0.2, mix_probability=0.0)):
        assert not augmentation.mixes
        assert augmentation.draw(10, 32, seed=0, epoch=0).mixing is None


def test_images_and_labels_are_mixed_by_what_is_to_be_seen() -> None:
    images, others = torch.full((3, 3, 4, 4), 10.0), torch.full((3, 3, 4, 4), 20.0)
    box = torch.tensor([[0, 0, 0, 0], [1, 0, 3, 2], [0, 0, 4, 4]])
    mixing = Mixing(torch.tensor([1, 2, 0]), torch.tensor([0.7, 1.0, 1.0]), box)
    mixed = mix(images, others, mixing)
    torch.testing.assert_close(mixed[0], torch.full((3, 4, 4), 13.0))
    expected = torch.full((3, 4, 4), 10.0)
    expected[:, 1:3, 0:2] = 20
    assert torch.equal(mixed[1], expected)
    assert torch.equal(mixed[2], others[2])
    labels = mix_labels(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0]), mixing, size=4, classes=3)
    torch.testing.assert_close(labels, torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))


def test_mixing_and_erasing_depend_on_seed_and_epoch_alone() -> None:
    augmentation = Augmentation(erasing=0.5, mixup=0.5, cutmix=1.0)

    def drawn(seed: int, epoch: int) -> Tensor:
        draws = augmentation.draw(50, 32, seed, epoch)
        assert draws.mixing is not None
        assert draws.erased is not None
        mixing = draws.mixing
        columns = [draws.erased, mixing.box, mixing.partner[:, None], mixing.weight[:, None]]
        return torch.cat([column.double() for column in columns], dim=1)

    first = drawn(3, 5)
    torch.manual_seed(99)
    assert torch.equal(drawn(3, 5), first)
    for other in (drawn(3, 6), drawn(4, 5)):
        assert not torch.equal(other, first)


def test_further_augmentations_leave_the_draws_of_the_others_alone() -> None:
    plain = Augmentation(pad=4, flip="random", cutout=8).draw(50, 32, 0, 1)
    more = Augmentation(pad=4, flip="random", cutout=8, erasing=0.5, mixup=0.2, cutmix=1.0).draw(50, 32, 0, 1)
    for name in ("crop", "flip", "cutout"):
        assert torch.equal(getattr(plain, name), getattr(more, name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": -0.1}, "mixup must be 0 or more, got -0.1"),
        ({"cutmix": -1.0}, "cutmix must be 0 or more, got -1.0"),
        ({"erasing": 1.5}, "erasing must be from 0 to 1, got 1.5"),
        ({"mix_probability": -0.5}, "mix_probability must be from 0 to 1, got -0.5"),
        ({"sizes": [[0, 20], [0, 24]]}, "sizes must be .* pairs with rising epochs"),
        ({"sizes": [[4, 20], [2, 24]]}, "sizes must be .* pairs with rising epochs"),
        ({"sizes": [[0]]}, "sizes must be .* pairs with rising epochs"),
        ({"sizes": [[0, -20]]}, "sizes must be .* pairs with rising epochs"),
        ({"sizes": [[0, 0]]}, "sizes must be .* pairs with rising epochs"),
        ({"sizes": [24]}, r"sizes must be .* pairs with rising epochs, got \[24\]"),
        ({"sizes": 24}, "sizes must be .* pairs with rising epochs, got 24"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


@pytest.mark.parametrize("options", [{"pad": -1}, {"cutout": -1}])
def test_negative_pixels_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be 0 or more pixels, got -1"):
        Augmentation(**options)


def test_sizes_hold_from_their_epoch_on() -> None:
    augmentation = Augmentation(sizes=[[1, 20], [3, 24], [4, 32]])
    assert [augmentation.size_at(epoch, 32) for epoch in range(6)] == [32, 20, 20, 24, 32, 32]


def test_resizing_keeps_what_there_is_to_see() -> None:
    left_to_right = torch.linspace(-1, 1, 32).expand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    small = resize(left_to_right, 16)
    assert small.shape == (2, 3, 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(small.mean(), left_to_right.mean())
    assert (small.diff(dim=-1) > 0).all()
