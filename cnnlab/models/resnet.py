"""ResNet-18 to 152 (He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", table 1)."""

from typing import Literal

from torch import Tensor, nn

Stem = Literal["cifar", "imagenet"]
Depth = Literal[18, 34, 50, 101, 152]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (figure 5, left): relu(F(x) + shortcut(x)).

    Args:
        in_channels: channels of the input.
        width: channels of the convolutions and of the output.
        stride: of the first convolution; 2 halves height and width.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them (figure 5, right).

    As in torchvision, and unlike the paper, the 3x3 convolution has the stride.

    Args:
        in_channels: channels of the input.
        width: channels of the 3x3 convolution; the output has four times as many.
        stride: of the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1):
        super().__init__()
        channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


# Table 1: the block, and how many of it each of the four stages has.
LAYOUTS: dict[Depth, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """A stem, four stages of residual blocks 64, 128, 256 and 512 wide, global average pooling, a linear layer.

    With `stem="imagenet"` the layers and their names are torchvision's. For 32 pixels that stem (7x7 with stride 2,
    then a max-pool) would leave 8x8 pixels for the first stage; `stem="cifar"` is one 3x3 convolution that keeps 32x32.
    Channels x height x width, for basic blocks (bottlenecks have four times the channels):

    ======  =============  ============
    stage   imagenet, 224  cifar, 32
    ======  =============  ============
    stem    64 x 56 x 56   64 x 32 x 32
    layer1  64 x 56 x 56   64 x 32 x 32
    layer2  128 x 28 x 28  128 x 16 x 16
    layer3  256 x 14 x 14  256 x 8 x 8
    layer4  512 x 7 x 7    512 x 4 x 4
    ======  =============  ============

    Parameters with the cifar stem and 10 classes: 11,173,962 (18), 21,282,122 (34), 23,520,842 (50), 42,512,970 (101)
    and 58,156,618 (152). Convolutions start normal, fan out (He et al. 2015, "Delving deep into rectifiers"), norms at
    one and zero.

    Args:
        depth: layers with weights, shortcuts not counted.
        in_channels: channels of the images.
        num_classes: length of the logits.
        stem: `cifar` or `imagenet`.
    """

    def __init__(self, depth: Depth, in_channels: int = 3, num_classes: int = 10, stem: Stem = "cifar"):
        super().__init__()
        imagenet = stem == "imagenet"
        self.conv1 = (
            nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            if imagenet
            else nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if imagenet else nn.Identity()
        block, counts = LAYOUTS[depth]
        self.layer1 = _stage(block, 64, 64, counts[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, counts[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, counts[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, counts[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Option B of section 4.1: a shortcut is a projection where the shapes differ, the identity (None) elsewhere."""
    if stride == 1 and in_channels == channels:
        return None
    convolution = nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    first = block(in_channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width) for _ in range(blocks - 1)))
