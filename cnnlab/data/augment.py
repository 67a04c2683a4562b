"""Augment training images in whole batches on their device.

Random decisions are drawn on the CPU, for all images of an epoch, from the seed and the epoch alone. So they do not
depend on the device, the batch size, the number of processes, or where a run was resumed. They are in
`cnnlab.data.augmentations`, which says how to add one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from cnnlab.data.augmentations.blanking import Cutout, Erasing
from cnnlab.data.augmentations.colour import Colour
from cnnlab.data.augmentations.crop import Crop, PaddingMode
from cnnlab.data.augmentations.flip import Flip, FlipMode
from cnnlab.data.augmentations.geometry import Geometry
from cnnlab.data.augmentations.mixing import Mixing, mix_labels
from cnnlab.data.augmentations.own import Own
from cnnlab.data.augmentations.policy import Policy, PolicyName
from cnnlab.data.augmentations.resize import Resize
from cnnlab.data.epoch import Epoch, seeded_generator
from cnnlab.instantiate import explained
from cnnlab.limits import BelowOne, Count, NotNegative, Share, Whole

# Arguments of `apply` by augmentation, for those that change something. Tensors have a row for each image of the data.
Draws = dict[type, dict[str, Any]]


@dataclass(frozen=True)
class Augmentation:
    """Choose augmentations and apply them to batches.

    Attributes:
        pad: pixels added on each side before a crop of the original size is taken; 0 leaves it out.
        padding_mode: `reflect` mirrors the image at its border, `zeros` adds black pixels.
        flip: `random` flips each image left to right with probability 1/2 in every epoch; `alternating` does so in the
            first epoch, and then flips every image in every second epoch (Jordan 2024, "94% on CIFAR-10 in 3.29
            seconds on a single GPU", section 3.6).
        policy: `trivial` changes each image by one of 14 operations, of random strength (TrivialAugment in the wide
            space, Mueller and Hutter 2021); `rand` by `rand_operations` of them, each of strength `rand_magnitude`
            (RandAugment, Cubuk et al. 2019).
        rand_operations: number of operations of `rand`.
        rand_magnitude: strength of the operations of `rand`, from 0 to 30.
        rotation: images are turned by at most so many degrees in both directions.
        scale: images are enlarged by a factor from 1 - scale to 1 + scale.
        shear: images are sheared by at most so many degrees, in x and in y.
        brightness, contrast, saturation: largest distance of a random factor from 1.
        hue: largest part of the colour circle by which colours are turned.
        grey: probability that an image is made grey.
        then: functions of float images (B, C, H, W) in [0, 1] that return such images. See `Own`.
        cutout: side in pixels of a square that is set to the mean colour; its centre is anywhere in the image, so part
            of it may lie outside (DeVries and Taylor 2017); 0 leaves it out.
        erasing: probability that a rectangle of 2 to 40 % of the image is set to the mean colour (Zhong et al. 2017).
        mixup: alpha of the Beta(alpha, alpha) distribution of an image's weight when it is blended with another one
            (Zhang et al. 2017); 0 leaves it out.
        cutmix: alpha of the Beta(alpha, alpha) distribution of the area that an image keeps when another one replaces
            a box of it (Yun et al. 2019); 0 leaves it out. With both, each image gets one of the two, with equal
            probability.
        mix_probability: probability that an image is mixed at all.
        sizes: (time, pixels a side) pairs, with rising times: from then on, augmented images are resized to this size.
            A time below 1 is a share of the training, others are epochs. Small images teach a network much of what it
            learns, in a fraction of the time (Howard 2018, "Training Imagenet in 3 hours for 25 minutes": progressive
            resizing). Images for validation and test keep their size. Empty: all images keep it.
    """

    pad: Whole = 0
    padding_mode: PaddingMode = "reflect"
    flip: FlipMode = "none"
    policy: PolicyName = "none"
    rand_operations: Count = 2
    rand_magnitude: Annotated[int, "[0, 30]"] = 9
    rotation: Annotated[float, "[0, 180]"] = 0.0
    scale: BelowOne = 0.0
    shear: Annotated[float, "[0, 90)"] = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, "[0, 0.5]"] = 0.0
    grey: Share = 0.0
    then: Sequence[Any] = ()
    cutout: Whole = 0
    erasing: Share = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    mix_probability: Share = 1.0
    sizes: Sequence[Sequence[float]] = ()
    _crop: Crop = field(init=False, repr=False, compare=False)
    _own: Own = field(init=False, repr=False, compare=False)
    _resize: Resize = field(init=False, repr=False, compare=False)
    _steps: tuple[Any, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not all(callable(function) for function in self.then):
            raise ValueError(f"then must be a list such as [{{_target_: mymodule.Noise}}], got {list(self.then)}")
        # Augmentations of pixels are applied in this order, then the user's, then those of normalized images. Crop,
        # cutout and flip draw from one random stream in this order too: another would change what every run draws.
        steps = (
            Mixing(self.mixup, self.cutmix, self.mix_probability),
            Cutout(self.cutout),
            Flip(self.flip),
            Policy(self.policy, self.rand_operations, self.rand_magnitude),
            Geometry(self.rotation, self.scale, self.shear, self.padding_mode == "reflect"),
            Colour(self.brightness, self.contrast, self.saturation, self.hue, self.grey),
            Erasing(self.erasing),
        )
        object.__setattr__(self, "_crop", Crop(self.pad, self.padding_mode))  # the dataclass is frozen
        object.__setattr__(self, "_own", Own(self.then))
        object.__setattr__(self, "_resize", Resize(self.sizes))
        object.__setattr__(self, "_steps", steps)

    @property
    def mixes(self) -> bool:
        """Return whether images are mixed with others, so that labels are probabilities of classes."""
        return any(isinstance(step, Mixing) and step.active for step in self._steps)

    def try_functions(self, size: int) -> None:
        """Call the user's functions with two images of this size, to find their errors before the training.

        Raises:
            RequestError: if one fails, or returns no images of the same form.
        """
        draws = self._own.draw(torch.Generator(), Epoch(2, size, seed=0, number=0))
        if draws:
            with explained("augmentation.then", errors=Exception):
                self._own.apply(torch.full((2, size, size, 3), 128, dtype=torch.uint8), batch=0, **draws)

    def prepare(self, pixels: Tensor) -> Tensor:
        """Do what can be done once for all epochs: return uint8 pixels (N, H, W, C) as `apply` takes them."""
        return self._crop.prepare(pixels)

    def draw(self, epoch: Epoch) -> Draws:
        """Draw the decisions of an epoch for all images, on the CPU."""
        steps = (self._crop, *self._steps, self._own, self._resize)
        generators = {step.stream: seeded_generator(epoch.seed, epoch.number, step.stream) for step in steps}
        draws: Draws = {type(step): step.draw(generators[step.stream], epoch) for step in steps}
        return {step: drawn for step, drawn in draws.items() if drawn}

    def needed(self, positions: Tensor, draws: Draws) -> Tensor:
        """Return the images that a batch is made of: those at `positions`, int64 (B,), then their partners if mixed."""
        return torch.cat([positions, draws[Mixing]["partner"][positions]]) if Mixing in draws else positions

    def apply(
        self,
        prepared: Tensor,
        rows: Tensor | None,
        labels: Tensor,
        positions: Tensor,
        draws: Draws,
        normalize: Callable[[Tensor], Tensor],
        classes: int = 0,
        batch: int = 0,
        share: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Make a batch of augmented, normalized images.

        Args:
            prepared: pixels from `prepare`.
            rows: which of them are the needed images, int64; None for all of them in their order.
            labels: class numbers of the needed images, int64.
            positions: the needed images in the data set, from `needed`.
            draws: decisions of the epoch, on the same device.
            normalize: turns values from 0 to 255, (B, H, W, C), into float32 (B, C, H, W).
            classes: number of classes, if images are mixed.
            batch: number of the batch in the epoch, different in all processes, for the user's functions.
            share: how much of the training was done before this batch, from 0 to 1.

        Returns:
            Images, float32 (B, C, H, W), and their labels: int64 (B,), or probabilities of the classes, float32
            (B, classes), if images are mixed.
        """
        pixels = self._crop.apply(prepared, rows, **_rows(draws, Crop, positions))
        for step in self._steps:
            if step.on_pixels and type(step) in draws:
                pixels = step.apply(pixels, **_rows(draws, type(step), positions))
        if Own in draws:
            pixels = self._own.apply(pixels, batch, **draws[Own])
        images = normalize(pixels)
        if Mixing in draws:
            positions, _ = positions.tensor_split(2)
            labels = mix_labels(labels, images.shape[-1], classes, **_rows(draws, Mixing, positions))
        for step in self._steps:
            if not step.on_pixels and type(step) in draws:
                images = step.apply(images, **_rows(draws, type(step), positions))
        if Resize in draws:
            images = self._resize.apply(images, share, **draws[Resize])
        return images, labels


def move_draws(draws: Draws, device: torch.device) -> Draws:
    """Return the decisions on another device."""
    return {
        step: {name: move(value, device) if isinstance(value, Tensor) else value for name, value in drawn.items()}
        for step, drawn in draws.items()
    }


def move(values: Tensor, device: torch.device) -> Tensor:
    """Return values on another device. A GPU copies them from pinned memory, for which the host need not wait."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _rows(draws: Draws, step: type, positions: Tensor) -> dict[str, Any]:
    """Return the arguments of one augmentation for the images at these positions."""
    drawn = draws.get(step, {})
    return {name: value[positions] if isinstance(value, Tensor) else value for name, value in drawn.items()}
