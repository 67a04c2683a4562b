"""Residual and plain networks for CIFAR-10 (He, Zhang, Ren, Sun 2015, "Deep residual learning ...", section 4.2)."""

from torch import Tensor, nn


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, with or without a shortcut around them that has no parameters.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        shortcut: False leaves the shortcut out, for the paper's plain networks.
    """

    def __init__(self, in_channels: int, channels: int, shortcut: bool):
        super().__init__()
        self.stride = 1 if in_channels == channels else 2
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H, W), or half of H and W where the channels differ."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.shortcut:
            if self.stride == 2:
                # Option A: every second pixel, and zeros for the channels that are more.
                more = out.shape[1] - x.shape[1]
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, more))
            out = out + x
        return self.relu(out)


class CifarResNet(nn.Module):
    """ResNet-20 to ResNet-110, and the plain networks beside them: 6n + 2 layers with weights.

    ==========  ============  ================
    part        channels      height and width
    ==========  ============  ================
    conv1       16            32
    layer1      16, n blocks  32
    layer2      32, n blocks  16
    layer3      64, n blocks  8
    avgpool     64            1
    fc          num_classes
    ==========  ============  ================

    Parameters with 10 classes: 269,722 (20), 464,154 (32), 658,586 (44), 853,018 (56), 1,727,962 (110); the shortcuts
    have none, so a plain network has as many. Convolutions start normal, fan in (He et al. 2015, "Delving deep into
    rectifiers", the paper's reference 13).

    Args:
        depth: layers with weights, 6n + 2.
        in_channels: channels of the images.
        num_classes: length of the logits.
        shortcuts: False for the plain network.

    Raises:
        ValueError: for a depth that is not 6n + 2.
    """

    def __init__(self, depth: int, in_channels: int = 3, num_classes: int = 10, shortcuts: bool = True):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 2, such as 20, 32, 44, 56 or 110, got {depth}")
        self.conv1 = nn.Conv2d(in_channels, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, blocks, shortcuts)
        self.layer2 = _stage(16, 32, blocks, shortcuts)
        self.layer3 = _stage(32, 64, blocks, shortcuts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(in_channels: int, channels: int, blocks: int, shortcuts: bool) -> nn.Sequential:
    first = CifarBlock(in_channels, channels, shortcuts)
    return nn.Sequential(first, *(CifarBlock(channels, channels, shortcuts) for _ in range(blocks - 1)))
