"""Turn, scale, shear and shift images, each by amounts of its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data.epoch import Epoch

BITS = 16  # of a fraction: places are whole numbers, so that every device finds the same
ONE = 1 << BITS


@dataclass(frozen=True)
class Geometry:
    """Turn, scale and shear images about their centre. See `Augmentation` and `interpolate` for the attributes."""

    rotation: float
    scale: float
    shear: float
    mirror: bool

    stream = 6
    on_pixels = True

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `matrices`, int32 (N, 6); see `affine`."""
        if not (self.rotation or self.scale or self.shear):
            return {}
        angle, shear_x, shear_y, larger = 2 * torch.rand(4, epoch.images, generator=generator, dtype=torch.float64) - 1
        x, y = ((self.shear * degrees).deg2rad().tan() for degrees in (shear_x, shear_y))
        return {"matrices": affine(epoch.size, self.rotation * angle, 1 + self.scale * larger, x, y)}

    def apply(self, pixels: Tensor, matrices: Tensor) -> Tensor:
        """Warp images (B, H, W, C)."""
        return interpolate(pixels, matrices, self.mirror)


def affine(
    size: int,
    angle: Tensor | float = 0.0,
    scale: Tensor | float = 1.0,
    shear_x: Tensor | float = 0.0,
    shear_y: Tensor | float = 0.0,
    shift_x: Tensor | float = 0.0,
    shift_y: Tensor | float = 0.0,
    centre: float | None = None,
) -> Tensor:
    """Return where the pixels of changed images come from: matrices in 1/65,536 pixel, int32 (N, 6).

    Row i gives the source of the pixel in column x and row y: column `m[0] x + m[1] y + m[2]` and row `m[3] x + m[4] y
    + m[5]`, for its middle. As torchvision's `affine`: sheared in x, in y, turned clockwise, scaled, shifted.

    Args:
        size: height and width of the images in pixels.
        angle: degrees, float64 (N,).
        scale: factor.
        shear_x, shear_y: tangents of the angles.
        shift_x, shift_y: pixels to the right and down.
        centre: the point about which images are changed, in pixels from the left and the top; None for the middle.
    """
    given = (angle, scale, shear_x, shear_y, shift_x, shift_y)
    values = torch.atleast_1d(*[torch.as_tensor(value, dtype=torch.float64) for value in given])
    degrees, factor, tangent_x, tangent_y, right, down = torch.broadcast_tensors(*values)
    cos, sin = degrees.deg2rad().cos() / factor, degrees.deg2rad().sin() / factor
    # The inverse: turned back, then without shear in y, then in x.
    d, e = tangent_y * cos - sin, tangent_y * sin + cos
    a, b = cos + tangent_x * d, sin + tangent_x * e
    centre = size / 2 if centre is None else centre
    x, y = 0.5 - centre - right, 0.5 - centre - down  # the middle of the first pixel
    matrices = torch.stack([a, b, centre + a * x + b * y, d, e, centre + d * x + e * y], dim=1)
    return (matrices * ONE).round().int()


def sources(matrices: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the columns and the rows that all pixels come from, in 1/65,536 pixel, int32 (B, H, W) each."""
    columns = torch.arange(width, dtype=torch.int32, device=matrices.device)
    rows = torch.arange(height, dtype=torch.int32, device=matrices.device)[:, None]
    a, b, x, d, e, y = matrices[:, :, None, None].unbind(1)
    return (b * rows + x) + a * columns, (e * rows + y) + d * columns


def pick(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Return images (B, H, W, C) of the pixels that lie nearest to where they come from; it is black beyond images."""
    images, height, width, channels = pixels.shape
    columns, rows = (place.bitwise_right_shift_(BITS) for place in sources(matrices, height, width))
    black_around = nn.functional.pad(pixels, (0, 0, 1, 1, 1, 1)).view(-1, channels)
    first = torch.arange(images, dtype=torch.int32, device=pixels.device) * ((height + 2) * (width + 2)) + width + 3
    places = rows.clamp_(-1, height).mul_(width + 2).add_(columns.clamp_(-1, width)).add_(first[:, None, None])
    return black_around.index_select(0, places.view(-1)).view(pixels.shape)


def interpolate(pixels: Tensor, matrices: Tensor, mirror: bool) -> Tensor:
    """Return images (B, H, W, C) that are mixed from the four pixels around where they come from.

    With `mirror`, the image continues beyond its border as in a mirror; else it is black there.
    """
    images = pixels.permute(0, 3, 1, 2).float()
    places = zip(sources(matrices, *images.shape[2:]), (images.shape[3], images.shape[2]), strict=True)
    grid = torch.stack([place * (2 / ONE / size) - 1 for place, size in places], dim=-1)
    border = "reflection" if mirror else "zeros"
    warped = nn.functional.grid_sample(images, grid, padding_mode=border, align_corners=False)
    return warped.round_().permute(0, 2, 3, 1).to(torch.uint8)
