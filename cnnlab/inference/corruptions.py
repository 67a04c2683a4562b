"""Change test images as bad cameras, light and files do, to measure how robust a network is.

The kinds follow Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions", section
3, without those that need pictures of weather. Strengths are chosen for images of any size, and differ from theirs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from cnnlab.data.images import Images
from cnnlab.display import progress_bar, save_figure
from cnnlab.inference.scoring import Clock, read_batches
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.style import styled

SEVERITIES = 5
IMAGES_AT_ONCE = 250  # noise is drawn for so many, whatever the batch size is
STEPS = 9  # positions that a moving or zooming camera is averaged over


@dataclass(frozen=True)
class Corruption:
    """Hold one way to change images, `change(images, amount, generator)`; images are float32 (B, C, H, W) in [0, 1]."""

    change: Callable[[Tensor, float, torch.Generator], Tensor]
    strongest: float  # amount of severity 5; severity s has s / 5 of it
    meaning: str  # of the amount


def gaussian_noise(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Add noise with this standard deviation to every value."""
    return images + amount * torch.randn(images.shape, generator=generator).to(images.device)


def shot_noise(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Count photons, of which white has 1 / amount^2: the noise of white has this standard deviation."""
    photons = torch.poisson(images.cpu() / amount**2, generator=generator)
    return photons.to(images.device) * amount**2


def impulse_noise(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Make this share of the values black or white."""
    drawn = torch.rand(images.shape, generator=generator).to(images.device)
    return images.masked_fill(drawn < amount / 2, 0).masked_fill(drawn > 1 - amount / 2, 1)


def gaussian_blur(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Blur with this standard deviation, as a share of the side."""
    sigma = amount * images.shape[-1]
    reach = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    return tv.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)


def motion_blur(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Move the camera by this share of the side, in a direction of each image's own."""
    angle = math.pi * torch.rand(len(images), generator=generator)
    way = 2 * amount * torch.linspace(-0.5, 0.5, STEPS)
    views = [warp(images, right=step * angle.cos(), down=step * angle.sin()) for step in way]
    return torch.stack(views).mean(dim=0)


def zoom_blur(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Zoom in during the exposure, up to 1 + amount."""
    factors = 1 + amount * torch.linspace(0, 1, STEPS)
    return torch.stack([warp(images, scale=factor.expand(len(images))) for factor in factors]).mean(dim=0)


def contrast(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Take this share of the contrast away."""
    return tv.adjust_contrast(images, 1 - amount)


def brightness(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Add this to all values."""
    return images + amount


def saturation(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Take this share of the colours away."""
    return tv.adjust_saturation(images, 1 - amount)


def fog(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Lay a cloud of uneven light over the image, with this weight."""
    size = list(images.shape[-2:])
    cloud = torch.zeros(len(images), 1, *size, device=images.device)
    for cells in (2, 4, 8):  # large patches are strong, small ones weak
        grid = torch.rand(len(images), 1, cells, cells, generator=generator).to(images.device)
        cloud += nn.functional.interpolate(grid, size, mode="bicubic", align_corners=True) / cells
    light = 0.6 + 0.4 * cloud / 0.875
    return (1 - amount) * images + amount * light


def pixelate(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Take this share of the rows and columns away, and draw the rest as squares."""
    size = list(images.shape[-2:])
    small = [max(1, round(side * (1 - amount))) for side in size]
    return nn.functional.interpolate(tv.resize(images, small, antialias=True), size, mode="nearest")


def jpeg(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Compress to a JPEG of quality 100 minus the amount."""
    quality = max(1, round(100 - amount))
    return torch.stack([tv.jpeg(image, quality) for image in to_bytes(images).cpu()]).to(images.device) / 255


def shift(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Move the image by this share of the side, in a direction of its own; the border is reflected."""
    angle = 2 * math.pi * torch.rand(len(images), generator=generator)
    return warp(images, right=2 * amount * angle.cos(), down=2 * amount * angle.sin())


def rotation(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Turn the image by so many degrees to the left or to the right."""
    sign = 2 * torch.randint(2, (len(images),), generator=generator) - 1
    return warp(images, angle=math.radians(amount) * sign)


def scale(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    """Make what the image shows smaller, by this share."""
    return warp(images, scale=torch.full((len(images),), 1 - amount))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, 0.12, "standard deviation"),
    "shot_noise": Corruption(shot_noise, 0.19, "standard deviation at white"),
    "impulse_noise": Corruption(impulse_noise, 0.075, "share of the values"),
    "gaussian_blur": Corruption(gaussian_blur, 0.037, "standard deviation, share of the side"),
    "motion_blur": Corruption(motion_blur, 0.14, "way, share of the side"),
    "zoom_blur": Corruption(zoom_blur, 0.48, "zoom beyond 1"),
    "contrast": Corruption(contrast, 0.72, "share that is lost"),
    "brightness": Corruption(brightness, 0.58, "added to values in [0, 1]"),
    "saturation": Corruption(saturation, 1.0, "share that is lost"),
    "fog": Corruption(fog, 0.67, "weight of the fog"),
    "pixelate": Corruption(pixelate, 0.46, "share of rows and columns that is lost"),
    "jpeg": Corruption(jpeg, 96, "100 minus the quality"),
    "shift": Corruption(shift, 0.5, "share of the side"),
    "rotation": Corruption(rotation, 39, "degrees"),
    "scale": Corruption(scale, 0.53, "share that is lost"),
}


def warp(
    images: Tensor,
    right: Tensor | float = 0.0,
    down: Tensor | float = 0.0,
    angle: Tensor | float = 0.0,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """Move, turn and scale each image by its own amounts, (B,); the border is reflected.

    Args:
        right, down: way in halves of the side.
        angle: radians.
        scale: factor.
    """
    given = (torch.as_tensor(value).expand(len(images)).to(images) for value in (right, down, angle, scale))
    x, y, turn, factor = given
    cos, sin = turn.cos() / factor, turn.sin() / factor
    rows = [torch.stack([cos, sin, -cos * x - sin * y], dim=1), torch.stack([-sin, cos, sin * x - cos * y], dim=1)]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def to_bytes(images: Tensor) -> Tensor:
    """Return values in [0, 1] as uint8, cut off at black and white."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def corrupt(pixels: Tensor, name: str, severity: int, part: int = 0) -> Tensor:
    """Return changed copies of images.

    Args:
        pixels: uint8 (B, H, W, C), on any device. What is random is drawn on the CPU, so that all devices get the same.
        name: key of `CORRUPTIONS`.
        severity: 1 to 5.
        part: number of these images among those of a data set; what is random depends on it.
    """
    kind = CORRUPTIONS[name]
    seed = (part * len(CORRUPTIONS) + list(CORRUPTIONS).index(name)) * (SEVERITIES + 1) + severity
    images = pixels.permute(0, 3, 1, 2) / 255
    changed = kind.change(images, kind.strongest * severity / SEVERITIES, torch.Generator().manual_seed(seed))
    return to_bytes(changed).permute(0, 2, 3, 1).contiguous()


def measure_robustness(net: TrainedNetwork, images: Images, clock: Clock) -> dict[str, Any]:
    """Return the accuracy on changed images.

    Returns:
        `images`, their number. `accuracies`: for each corruption, the accuracy at severity 1 to 5. `mean` of all.
    """
    correct = {name: [0] * SEVERITIES for name in CORRUPTIONS}
    bar = progress_bar(len(images) * len(CORRUPTIONS) * SEVERITIES, "corrupting the images")
    with clock("corruptions"):
        for part, (positions, pixels) in enumerate(read_batches(images, IMAGES_AT_ONCE)):
            for name in CORRUPTIONS:
                for severity in range(1, SEVERITIES + 1):
                    predicted = net.logits(corrupt(pixels.to(net.device), name, severity, part)).argmax(dim=1)
                    correct[name][severity - 1] += int((predicted == images.labels[positions]).sum())
                    bar.update(len(pixels))
    bar.close()
    accuracies = {name: [count / len(images) for count in counts] for name, counts in correct.items()}
    mean = sum(map(sum, accuracies.values())) / (len(CORRUPTIONS) * SEVERITIES)
    return {"images": len(images), "mean": mean, "accuracies": accuracies}


@styled
def draw_robustness(found: dict[str, Any], clean: float, about: str, file: Path) -> None:
    """Draw a table of accuracies by corruption and severity, beside that of the images as they are, as a `.png`."""
    names = list(found["accuracies"])
    figure = Figure(figsize=(7, 1.4 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    values = torch.tensor([[clean, *found["accuracies"][name]] for name in names])
    axes.imshow(values.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(SEVERITIES + 1), ["as they are", *map(str, range(1, SEVERITIES + 1))])
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlabel("severity of the corruption")
    axes.grid(visible=False)
    kept = f"{100 * found['mean']:.1f} % on average, {100 * clean:.1f} % on the images as they are"
    axes.set_title(
        f"{about}: accuracy in percent on corrupted images, n = {found['images']:,}\n{kept}", loc="left", fontsize=9
    )
    save_figure(figure, file)
