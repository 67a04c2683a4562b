"""Residual networks (He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", table 1)."""

from typing import Literal

from torch import Tensor, nn

Stem = Literal["cifar", "imagenet"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (figure 5, left): relu(F(x) + shortcut(x)).

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: of the first convolution; 2 halves height and width.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            # Option B of section 4.1: a projection where the shapes differ, the identity elsewhere.
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet(nn.Module):
    """The ImageNet layout: a stem, four stages of 64, 128, 256, 512 channels, global average pooling, a linear layer.

    With `stem="imagenet"` the layers and their names are torchvision's. For 32 pixels that stem (7x7 with stride 2,
    then a max-pool) would leave 8x8 pixels for the first stage; `stem="cifar"` is one 3x3 convolution that keeps 32x32:

    =====================  =============  ================
    stage                  imagenet, 224  cifar, 32
    =====================  =============  ================
    stem                   64 x 56 x 56   64 x 32 x 32
    layer1                 64 x 56 x 56   64 x 32 x 32
    layer2                 128 x 28 x 28  128 x 16 x 16
    layer3                 256 x 14 x 14  256 x 8 x 8
    layer4                 512 x 7 x 7    512 x 4 x 4
    =====================  =============  ================

    Convolutions start normal, fan out (He et al. 2015, "Delving deep into rectifiers"), norms at one and zero.

    Args:
        blocks: residual blocks in each of the four stages.
        in_channels: channels of the images.
        num_classes: length of the logits.
        stem: `cifar` or `imagenet`.
    """

    def __init__(
        self, blocks: tuple[int, int, int, int], in_channels: int = 3, num_classes: int = 10, stem: Stem = "cifar"
    ):
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
        self.layer1 = _stage(64, 64, blocks[0], stride=1)
        self.layer2 = _stage(64, 128, blocks[1], stride=2)
        self.layer3 = _stage(128, 256, blocks[2], stride=2)
        self.layer4 = _stage(256, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


def resnet18(in_channels: int = 3, num_classes: int = 10, stem: Stem = "cifar") -> ResNet:
    """ResNet-18: two basic blocks a stage, 11,173,962 parameters with the `cifar` stem and 10 classes."""
    return ResNet((2, 2, 2, 2), in_channels, num_classes, stem)
