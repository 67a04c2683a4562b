"""What is done to training images: crops, flips, blanked squares and mixing, for a whole batch at once on its device.

The decisions are drawn for all images of an epoch from (seed, epoch) alone, on the CPU. They do not depend on the
device, the batch that an image falls into, the number of processes, or where a run was resumed. That is why an image is
mixed with one of the whole set, which a second permutation chooses, and not with its neighbour in the batch as in
torchvision's MixUp and CutMix: the neighbour may be another process's, and theirs draw one decision for a whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Flip = Literal["none", "random", "alternating"]
PaddingMode = Literal["reflect", "zeros"]


# Zhong et al. 2017, "Random erasing data augmentation", section 4.2.
ERASED_AREA = (0.02, 0.4)  # of the image
ERASED_ASPECT = 0.3  # height / width is between this and its inverse
ERASING_TRIES = 10  # for a rectangle that fits into the image


@dataclass(frozen=True)
class Draws:
    """The decisions of one epoch, one entry per image. Boxes are rows and columns: top, left, bottom, right.

    Attributes:
        crop: top left corner of the crop in the padded image, int64 (N, 2), or None.
        flip: whether the image is mirrored, bool (N,), or None.
        cutout: centre of the blanked square, int64 (N, 2), or None.
        erased: box that is blanked, int64 (N, 4), empty for images that are left alone, or None.
        mixing: what the image is mixed with, or None.
    """

    crop: Tensor | None = None
    flip: Tensor | None = None
    cutout: Tensor | None = None
    erased: Tensor | None = None
    mixing: "Mixing | None" = None

    def to(self, device: torch.device) -> "Draws":
        """The same on another device."""
        return Draws(**{name: None if draw is None else draw.to(device) for name, draw in vars(self).items()})


@dataclass(frozen=True)
class Mixing:
    """What images are mixed with, one entry per image of the epoch or of a batch.

    Attributes:
        partner: the other image, int64 (N,).
        weight: of the image itself outside the box, in [0, 1], float32 (N,); the other has the rest.
        box: where the other image takes the place of this one, int64 (N, 4).
    """

    partner: Tensor
    weight: Tensor
    box: Tensor

    def to(self, device: torch.device) -> "Mixing":
        """The same on another device."""
        return Mixing(self.partner.to(device), self.weight.to(device), self.box.to(device))

    def __getitem__(self, indices: Tensor) -> "Mixing":
        return Mixing(self.partner[indices], self.weight[indices], self.box[indices])


@dataclass(frozen=True)
class Augmentation:
    """Which augmentations are used.

    Attributes:
        pad: pixels put on each side before a crop of the original size is taken; 0 takes none.
        padding_mode: `reflect` mirrors the image at its border, `zeros` puts black pixels.
        flip: `random` mirrors each image left to right with probability 1/2 in every epoch; `alternating` does so in
            the first epoch and then mirrors every image in every second epoch (Jordan 2024, "94% on CIFAR-10 in 3.29
            seconds on a single GPU", section 3.6).
        cutout: side in pixels of a square that is set to the mean colour, its centre anywhere in the image, so that
            part of it may lie outside (DeVries and Taylor 2017); 0 leaves it out.
        erasing: probability that a rectangle of 2 to 40 % of the image is set to the mean colour (Zhong et al. 2017).
        mixup: alpha of the Beta(alpha, alpha) distribution of an image's weight beside that of another one, image by
            image (Zhang et al. 2017); 0 leaves it out.
        cutmix: alpha of the Beta(alpha, alpha) distribution of the area that an image keeps beside a rectangle of
            another one (Yun et al. 2019); 0 leaves it out. With both, each image has one of the two, by a coin.
        mix_probability: that an image is mixed at all.
        sizes: (epoch, pixels a side) pairs, epochs counted from 0 and rising: from that epoch on the finished images
            are scaled to so many pixels. A network learns much of what it learns from small images, in a fraction of
            the time (Howard 2018, "Training Imagenet in 3 hours for 25 minutes": progressive resizing). Validation and
            test see whole images all along. Empty: always the images' own size.
    """

    pad: int = 0
    padding_mode: PaddingMode = "reflect"
    flip: Flip = "none"
    cutout: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    sizes: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be 0 or more pixels, got {self.pad}")
        if self.cutout < 0:
            raise ValueError(f"cutout must be 0 or more pixels, got {self.cutout}")
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not _are_sizes(self.sizes):
            raise ValueError(f"sizes must be [epoch, pixels] pairs with rising epochs, got {self.sizes}")
        for name in ("erasing", "mix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others, so that labels are probabilities of classes."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0

    def padded(self, pixels: Tensor) -> Tensor:
        """Images (N, H, W, C) with `pad` pixels more on each side; reflection needs images larger than `pad`."""
        if self.pad == 0:
            return pixels
        n, h, w, c = pixels.shape
        p = self.pad
        out = pixels.new_zeros(n, h + 2 * p, w + 2 * p, c)
        out[:, p:-p, p:-p] = pixels
        if self.padding_mode == "reflect":  # as in a mirror at the first and last pixel; columns last, for the corners
            out[:, :p] = out[:, p + 1 : 2 * p + 1].flip(1)
            out[:, -p:] = out[:, -2 * p - 1 : -p - 1].flip(1)
            out[:, :, :p] = out[:, :, p + 1 : 2 * p + 1].flip(2)
            out[:, :, -p:] = out[:, :, -2 * p - 1 : -p - 1].flip(2)
        return out

    def size_at(self, epoch: int, size: int) -> int:
        """Pixels a side that images of `size` pixels are given to the network with in an epoch."""
        return next((pixels for first, pixels in reversed(self.sizes) if epoch >= first), size)

    def draw(self, images: int, size: int, seed: int, epoch: int) -> Draws:
        """The decisions of an epoch.

        Args:
            images: how many there are.
            size: their height and width in pixels.
            seed: the run's.
            epoch: from 0.
        """
        generator = seeded_generator(seed, epoch, stream=1)
        crop = torch.randint(0, 2 * self.pad + 1, (images, 2), generator=generator) if self.pad else None
        cutout = torch.randint(0, size, (images, 2), generator=generator) if self.cutout else None
        flip = None
        if self.flip == "random":
            flip = torch.rand(images, generator=generator) < 0.5
        elif self.flip == "alternating":
            first = torch.rand(images, generator=seeded_generator(seed, 0, stream=2)) < 0.5
            flip = first if epoch % 2 == 0 else ~first
        erased = self._draw_erased(images, size, seeded_generator(seed, epoch, stream=3)) if self.erasing else None
        mixing = self._draw_mixing(images, size, seeded_generator(seed, epoch, stream=4)) if self.mixes else None
        return Draws(crop, flip, cutout, erased, mixing)

    def _draw_erased(self, images: int, size: int, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(ERASING_TRIES, images, generator=generator)

        area, aspect = uniform(*ERASED_AREA) * size**2, uniform(ERASED_ASPECT, 1 / ERASED_ASPECT)
        heights, widths = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        top = (uniform(0, 1) * (size - heights + 1)).long()
        left = (uniform(0, 1) * (size - widths + 1)).long()
        fits = (heights < size) & (widths < size)
        first = fits.int().argmax(0)  # of the tries
        boxes = torch.stack([top, left, top + heights, left + widths], dim=-1)[first, torch.arange(images)]
        chosen = torch.rand(images, generator=generator) < self.erasing
        return boxes * (chosen & fits.any(0))[:, None]

    def _draw_mixing(self, images: int, size: int, generator: torch.Generator) -> Mixing:
        partner = torch.randperm(images, generator=generator)
        mixed = torch.rand(images, generator=generator) < self.mix_probability
        by_box = torch.full((images,), self.cutmix > 0)
        if self.mixup and self.cutmix:
            by_box = torch.rand(images, generator=generator) < 0.5
        # torch draws from a Beta distribution with the global generator alone.
        beta = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))

        def shares(alpha: float) -> Tensor:
            return torch.from_numpy(beta.beta(alpha, alpha, images)) if alpha else torch.ones(images)

        weight = torch.where(mixed & ~by_box, shares(self.mixup), 1).float()
        side = (size * (1 - shares(self.cutmix)).sqrt())[:, None]
        centre = torch.rand(images, 2, generator=generator) * size
        box = torch.cat([centre - side / 2, centre + side / 2], dim=1).round().long().clamp(0, size)
        return Mixing(partner, weight, box * (mixed & by_box)[:, None])


def crop(padded: Tensor, indices: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cuts one window out of each chosen image.

    Args:
        padded: (N, H, W, C).
        indices: which images, int64 (B,).
        corners: top left corner for each, int64 (B, 2).
        size: of the windows, in pixels.

    Returns:
        (B, size, size, C).
    """
    windows = padded.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
    return windows[indices, corners[:, 0], corners[:, 1]]


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirrors left to right those images (B, H, W, C) for which `mirrored`, bool (B,), is true."""
    return torch.where(mirrored[:, None, None, None], images.flip(2), images)


def cutout_(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Sets a square of normalized images (B, C, H, W) to 0, the mean colour, in place; centres are int64 (B, 2)."""
    corners = centres - side // 2
    return blank_(images, torch.cat([corners, corners + side], dim=1))


def blank_(images: Tensor, boxes: Tensor) -> Tensor:
    """Sets a box, int64 (B, 4), of normalized images (B, C, H, W) to 0, the mean colour, in place."""
    return images.masked_fill_(_inside(boxes, images), 0)


def resize(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) scaled to `size` pixels a side, each of which is the mean of what it covers, softly."""
    resized = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def mix(images: Tensor, others: Tensor, mixing: Mixing) -> Tensor:
    """Images (B, C, H, W) mixed with others of the same shape."""
    weight = mixing.weight[:, None, None, None]
    return torch.where(_inside(mixing.box, images), others, torch.lerp(others, images, weight))


def mix_labels(labels: Tensor, others: Tensor, mixing: Mixing, size: int, classes: int) -> Tensor:
    """Probabilities of the classes, float32 (B, classes), by what is to be seen of each of two images.

    Args:
        labels: of the images, int64 (B,).
        others: labels of those that they are mixed with.
        mixing: how.
        size: height and width of the images.
        classes: how many there are.
    """
    top, left, bottom, right = mixing.box.unbind(1)
    share = mixing.weight * (1 - (bottom - top) * (right - left) / size**2)
    probabilities = torch.zeros(len(labels), classes, device=labels.device)
    probabilities.scatter_(1, labels[:, None], share[:, None])
    return probabilities.scatter_add_(1, others[:, None], 1 - share[:, None])


def _inside(boxes: Tensor, images: Tensor) -> Tensor:
    """Which pixels of images (B, C, H, W) lie in boxes (B, 4): bool (B, 1, H, W)."""
    top, left, bottom, right = boxes[:, :, None].unbind(1)
    rows = torch.arange(images.shape[-2], device=images.device)
    columns = torch.arange(images.shape[-1], device=images.device)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def seeded_generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """A generator on the CPU whose numbers depend on nothing but its arguments; `stream` keeps purposes apart."""
    state = seed
    for part in (epoch, stream):
        state = (state * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(state)


def _are_sizes(sizes: Any) -> bool:
    """Whether they are pairs of an epoch and pixels a side, and the epochs rise."""
    if not isinstance(sizes, Sequence):
        return False
    for pair in sizes:
        numbers = isinstance(pair, Sequence) and all(isinstance(number, int) for number in pair)
        if not numbers or len(pair) != 2 or pair[0] < 0 or pair[1] < 1:
            return False
    epochs = [epoch for epoch, _ in sizes]
    return epochs == sorted(set(epochs))
