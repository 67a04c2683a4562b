"""Define ResNet-9, the network of the DAWNBench speedruns (Page 2018, "How to train your ResNet 4: architecture").

It was designed for 32x32 pixels. Shapes, channels x height x width:

==================================  ============
stem, 3x3                           64 x 32 x 32
layer1: 3x3, max-pool 2, residual   128 x 16 x 16
layer2: 3x3, max-pool 2             256 x 8 x 8
layer3: 3x3, max-pool 2, residual   512 x 4 x 4
max-pool over the remaining pixels  512
linear, times 1/8                   num_classes
==================================  ============
"""

from torch import Tensor, nn

from cnnlab.models.layers import Activation, Normalization, activation_layer, normalization_layer, scaled


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with norm and activation, added to their input."""

    def __init__(self, channels: int, activation: Activation, normalization: Normalization):
        super().__init__()
        self.conv1 = _convolution(channels, channels, activation, normalization)
        self.conv2 = _convolution(channels, channels, activation, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return x + self.conv2(self.conv1(x))


class ResNet9(nn.Module):
    """Eight convolutions, four of them in two residual blocks, and a linear layer.

    6,573,120 parameters with 3 channels and 10 classes. Weights start as torch's defaults. `cnnlab.models.layers`
    explains the arguments.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "relu",
        normalization: Normalization = "batch",
        width: float = 1.0,
    ):
        super().__init__()
        c64, c128, c256, c512 = (scaled(channels, width) for channels in (64, 128, 256, 512))
        options: tuple[Activation, Normalization] = (activation, normalization)
        self.stem = _convolution(in_channels, c64, *options)
        self.layer1 = nn.Sequential(_convolution(c64, c128, *options), nn.MaxPool2d(2), ResidualBlock(c128, *options))
        self.layer2 = nn.Sequential(_convolution(c128, c256, *options), nn.MaxPool2d(2))
        self.layer3 = nn.Sequential(_convolution(c256, c512, *options), nn.MaxPool2d(2), ResidualBlock(c512, *options))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(c512, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W), H and W at least 8, to logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return self.head(self.pool(x).flatten(1)) / 8


def _convolution(
    in_channels: int, channels: int, activation: Activation, normalization: Normalization
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=normalization == "none"),
        normalization_layer(normalization, channels),
        activation_layer(activation, inplace=True),
    )
