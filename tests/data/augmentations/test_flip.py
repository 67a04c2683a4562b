import torch
from torch import Tensor

from cnnlab.data.augmentations.flip import Flip, FlipMode
from cnnlab.data.epoch import Epoch, seeded_generator


def flipped(mode: FlipMode, epoch: int) -> Tensor:
    return Flip(mode).draw(seeded_generator(0, epoch, Flip.stream), Epoch(1000, 32, seed=0, number=epoch))["flipped"]


def test_the_chosen_images_are_flipped_left_to_right() -> None:
    pixels = torch.arange(6 * 8 * 8 * 3).view(6, 8, 8, 3)
    chosen = torch.tensor([True, False, True, True, False, False])
    result = Flip("random").apply(pixels, chosen)
    for image in range(6):
        for column in range(8):
            expected = pixels[image, :, 7 - column if chosen[image] else column]
            assert torch.equal(result[image, :, column], expected)


def test_random_flips_are_drawn_anew_in_every_epoch() -> None:
    first, second = flipped("random", 0), flipped("random", 1)
    assert 400 < first.sum() < 600
    assert 400 < (first ^ second).sum() < 600


def test_alternating_flips_flip_every_image_in_exactly_every_second_epoch() -> None:
    draws = torch.stack([flipped("alternating", epoch) for epoch in range(6)])
    assert draws.shape == (6, 1000)
    assert (draws[1:] ^ draws[:-1]).all()
    assert 400 < draws[0].sum() < 600
