"""Define ResNet-18 to ResNet-152 (He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", table 1).

With `stem="imagenet"`, layers and names are torchvision's. For 32 pixels, that stem (7x7 with stride 2, then a
max-pool) would leave only 8x8 pixels for the first stage; `stem="cifar"` is one 3x3 convolution that keeps 32x32.
Shapes, channels x height x width, with basic blocks (bottlenecks have four times the channels):

======  =============  ============
stage   imagenet, 224  cifar, 32
======  =============  ============
stem    64 x 56 x 56   64 x 32 x 32
layer1  64 x 56 x 56   64 x 32 x 32
layer2  128 x 28 x 28  128 x 16 x 16
layer3  256 x 14 x 14  256 x 8 x 8
layer4  512 x 7 x 7    512 x 4 x 4
======  =============  ============
"""

from typing import Literal

from torch import Tensor, nn

from cnnlab.models.layers import Activation, Normalization, Stem, activation_layer, normalization_layer, scaled

Depth = Literal[18, 34, 50, 101, 152]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (figure 5, left): relu(F(x) + shortcut(x)).

    The stride is that of the first convolution; 2 halves height and width. The output has `channels` channels.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        activation: Activation = "relu",
        normalization: Normalization = "batch",
    ):
        super().__init__()
        bias = normalization == "none"  # a norm has its own offset
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn1 = normalization_layer(normalization, channels)
        self.activation = activation_layer(activation, inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=bias)
        self.bn2 = normalization_layer(normalization, channels)
        self.downsample = _projection(in_channels, channels, stride, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.activation(self.bn1(self.conv1(x)))
        return self.activation(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them (figure 5, right).

    The output has four times the channels of the 3x3 convolution. The stride is in the 3x3 convolution as in
    torchvision; the paper has it in the first.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        activation: Activation = "relu",
        normalization: Normalization = "batch",
    ):
        super().__init__()
        bias = normalization == "none"  # a norm has its own offset
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1, bias=bias)
        self.bn1 = normalization_layer(normalization, channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn2 = normalization_layer(normalization, channels)
        self.conv3 = nn.Conv2d(channels, out_channels, kernel_size=1, bias=bias)
        self.bn3 = normalization_layer(normalization, out_channels)
        self.activation = activation_layer(activation, inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, 4 * channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.activation(self.bn1(self.conv1(x)))
        out = self.activation(self.bn2(self.conv2(out)))
        return self.activation(self.bn3(self.conv3(out)) + shortcut)


# Table 1: type of block, and number of blocks in each of the four stages.
LAYOUTS: dict[Depth, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, global average pooling and a linear layer.

    Parameters with the cifar stem and 10 classes: 11,173,962 (18), 21,282,122 (34), 23,520,842 (50), 42,512,970 (101)
    and 58,156,618 (152). Convolutions start normal, fan out (He et al. 2015, "Delving deep into rectifiers"); norms
    start with scale one and offset zero.

    Args (others in `cnnlab.models.layers`):
        depth: number of layers with weights, shortcuts excluded.
        activation: after every norm except the last of a block, and after the sum.
        stem: `cifar` or `imagenet`.
    """

    def __init__(
        self,
        depth: Depth,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "relu",
        normalization: Normalization = "batch",
        width: float = 1.0,
        stem: Stem = "cifar",
    ):
        super().__init__()
        bias = normalization == "none"
        c64, c128, c256, c512 = (scaled(channels, width) for channels in (64, 128, 256, 512))
        kernel_size, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(in_channels, c64, kernel_size, stride, padding=kernel_size // 2, bias=bias)
        self.bn1 = normalization_layer(normalization, c64)
        self.activation = activation_layer(activation, inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        block, counts = LAYOUTS[depth]

        def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
            first = block(in_channels, channels, stride, activation, normalization)
            out_channels = channels * block.expansion
            others = (block(out_channels, channels, 1, activation, normalization) for _ in range(blocks - 1))
            return nn.Sequential(first, *others)

        self.layer1 = stage(c64, c64, counts[0], stride=1)
        self.layer2 = stage(c64 * block.expansion, c128, counts[1], stride=2)
        self.layer3 = stage(c128 * block.expansion, c256, counts[2], stride=2)
        self.layer4 = stage(c256 * block.expansion, c512, counts[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.maxpool(self.activation(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _projection(in_channels: int, channels: int, stride: int, normalization: Normalization) -> nn.Sequential | None:
    """Return a projection for a shortcut between different shapes, else None (section 4.1, option B)."""
    if stride == 1 and in_channels == channels:
        return None
    bias = normalization == "none"
    convolution = nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=bias)
    return nn.Sequential(convolution, normalization_layer(normalization, channels))
