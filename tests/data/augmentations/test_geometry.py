from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from cnnlab.data.augmentations.geometry import Geometry, affine, interpolate, pick
from cnnlab.data.epoch import Epoch, seeded_generator


def photo(size: int = 24, channels: int = 3, images: int = 1) -> Tensor:
    """Return smooth images, uint8 (N, size, size, channels), in which a place can be told from its colour."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, channels, 5, 5, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def as_torchvision(pixels: Tensor, **options: Any) -> Tensor:
    moved = functional.affine(pixels.permute(0, 3, 1, 2), **options)
    return moved.permute(0, 2, 3, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("angle", "scale", "shear", "shift"),
    [(0, 1, (0, 0), (0, 0)), (17, 1, (0, 0), (0, 0)), (-100.0, 1.3, (0, 0), (0, 0)), (5, 0.7, (20, -10), (3, -2))],
)
def test_images_are_moved_as_torchvision_moves_them(channels: int, angle: Any, scale: Any, shear: Any, shift: Any):
    pixels = photo(channels=channels)
    tangents = torch.tensor(shear, dtype=torch.float64).deg2rad().tan()
    matrices = affine(24, angle, scale, tangents[0], tangents[1], *shift)
    options = {"angle": angle, "scale": scale, "shear": shear, "translate": shift}
    assert torch.equal(pick(pixels, matrices), as_torchvision(pixels, **options))
    smooth = as_torchvision(pixels, **options, interpolation=InterpolationMode.BILINEAR)
    assert (interpolate(pixels, matrices, mirror=False).int() - smooth.int()).abs().max() <= 1


def test_each_image_has_its_own_matrix():
    pixels = photo(images=4)
    matrices = affine(24, angle=torch.tensor([0.0, 90.0, 180.0, 270.0]))
    expected = torch.stack([image.rot90(-turns) for turns, image in enumerate(pixels)])  # affine turns clockwise
    assert torch.equal(pick(pixels, matrices), expected)
    assert torch.equal(interpolate(pixels, matrices, mirror=False), expected)


def test_beyond_its_border_an_image_is_black_or_mirrored():
    pixels = torch.full((1, 8, 8, 3), 200, dtype=torch.uint8)
    matrices = affine(8, angle=45)
    assert interpolate(pixels, matrices, mirror=False)[0, 0, 0].tolist() == [0, 0, 0]
    assert (interpolate(pixels, matrices, mirror=True) == 200).all()


def test_amounts_lie_within_their_limits_on_both_sides():
    def drawn(rotation: float, scale: float, shear: float) -> Tensor:
        epoch = Epoch(5000, 32, seed=0, number=0)
        matrices = Geometry(rotation, scale, shear, False).draw(seeded_generator(0, 0, 6), epoch)["matrices"]
        return matrices.double() / 65536

    turned = drawn(30, 0, 0)
    angle = torch.atan2(turned[:, 1], turned[:, 0]).rad2deg()
    assert (round(float(angle.min())), round(float(angle.max()))) == (-30, 30)
    assert abs(float(angle.mean())) < 1
    assert torch.allclose(
        turned[:, 0] * turned[:, 4] - turned[:, 1] * turned[:, 3], torch.tensor(1.0).double(), atol=1e-4
    )
    larger = 1 / drawn(0, 0.25, 0)[:, 0]
    assert (round(float(larger.min()), 2), round(float(larger.max()), 2)) == (0.75, 1.25)
    slanted = drawn(0, 0, 20)
    for tangent in (slanted[:, 1], slanted[:, 3]):
        assert float(tangent.abs().max().atan().rad2deg()) == pytest.approx(20, abs=0.6)


def test_nothing_is_drawn_unless_asked_for():
    assert Geometry(0, 0, 0, True).draw(torch.Generator(), Epoch(10, 32, 0, 0)) == {}
