"""Define the small network of CIFAR-10 speedruns.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3. It was designed for 32x32 pixels.
Shapes, channels x height x width:

==================================  =============
whitening, 2x2, unpadded            24 x 31 x 31
block 1                             64 x 15 x 15
block 2                             256 x 7 x 7
block 3                             256 x 3 x 3
max-pool over the remaining pixels  256
linear, times 1/9                   num_classes
==================================  =============
"""

import torch
from torch import Tensor, nn

from cnnlab.models.layers import Activation, activation_layer, scaled


class SpeedBlock(nn.Module):
    """Convolution, pooling, norm, activation, convolution, norm, activation.

    Filters start as the identity. Norms learn an offset only; `norm_momentum` as in `SpeedNet`.
    """

    def __init__(self, in_channels: int, channels: int, activation: Activation, norm_momentum: float):
        super().__init__()
        self.conv1 = _identity_convolution(in_channels, channels)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = _offset_norm(channels, norm_momentum)
        self.activation1 = activation_layer(activation, inplace=True)
        self.conv2 = _identity_convolution(channels, channels)
        self.norm2 = _offset_norm(channels, norm_momentum)
        self.activation2 = activation_layer(activation, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H // 2, W // 2)."""
        x = self.activation1(self.norm1(self.pool(self.conv1(x))))
        return self.activation2(self.norm2(self.conv2(x)))


class SpeedNet(nn.Module):
    """A whitening layer and three blocks of two convolutions: 94 % in seconds on a GPU.

    The first convolution is not trained. Its filters are the principal components of 2x2 patches of training images,
    scaled to unit variance, and their negatives (section 3.2; Page 2019, "How to train your ResNet 8").
    `initialize_from` sets them before the first step of the training.

    1,971,352 trained parameters with 3 channels and 10 classes, and 288 in the whitening filters. The first filters of
    a convolution start as the identity, one per input channel; the others as torch's default (section 3.3).

    Args (others in `cnnlab.models.layers`):
        activation: GELU as in the source; ReLU is faster on a CPU.
        width: factor on the channels of the blocks: 0.5 gives 32, 128, 128.
        whitening_eps: added to the variances by which the whitening filters are scaled, above 0; 0.0005 as in the
            source. Components with a much smaller variance stay faint, such as colour differences between neighbouring
            pixels of JPEG images.
        norm_momentum: weight of the last batch in the norms' running statistics, which validation and test use, above 0
            and at most 1; 0.4 as in the source, which trains for a few hundred steps of 2,000 images.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "gelu",
        width: float = 1.0,
        whitening_eps: float = 5e-4,
        norm_momentum: float = 0.4,
    ):
        super().__init__()
        self.whitening_eps = whitening_eps
        whitened = 2 * in_channels * 2 * 2
        narrow, wide = scaled(64, width), scaled(256, width)
        self.whitening = nn.Conv2d(in_channels, whitened, kernel_size=2)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # pyright: ignore[reportArgumentType]
        self.activation = activation_layer(activation, inplace=True)
        self.block1 = SpeedBlock(whitened, narrow, activation, norm_momentum)
        self.block2 = SpeedBlock(narrow, wide, activation, norm_momentum)
        self.block3 = SpeedBlock(wide, wide, activation, norm_momentum)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(wide, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W), H and W at least 9, to logits (N, num_classes)."""
        x = self.activation(self.whitening(images))
        x = self.block3(self.block2(self.block1(x)))
        return self.head(self.pool(x).flatten(1)) / 9

    @torch.no_grad()
    def initialize_from(self, images: Tensor) -> None:
        """Set the whitening filters from normalized training images (N, in_channels, H, W), best a few thousand."""
        patches = images.float().unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
        covariance = (patches.T @ patches / len(patches)).double()
        variances, components = torch.linalg.eigh(covariance)
        scaled_components = components.T / (variances + self.whitening_eps).sqrt()[:, None]
        filters = scaled_components.flip(0).reshape(-1, *self.whitening.weight.shape[1:])
        self.whitening.weight.copy_(torch.cat([filters, -filters]))


def _identity_convolution(in_channels: int, channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[:in_channels])
    return convolution


def _offset_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm
