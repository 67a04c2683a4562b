"""Define residual and plain networks for CIFAR-10.

He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", section 4.2. The authors designed them for
32x32 pixels: few channels, three stages instead of four, and shortcuts without parameters. Shapes:

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
"""

from torch import Tensor, nn

from cnnlab.models.layers import Activation, Normalization, activation_layer, normalization_layer, scaled


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, with or without a shortcut (which has no parameters) around them."""

    def __init__(
        self, in_channels: int, channels: int, shortcut: bool, activation: Activation, normalization: Normalization
    ):
        super().__init__()
        bias = normalization == "none"  # a norm has its own offset
        self.stride = 1 if in_channels == channels else 2
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=self.stride, padding=1, bias=bias)
        self.bn1 = normalization_layer(normalization, channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=bias)
        self.bn2 = normalization_layer(normalization, channels)
        self.activation = activation_layer(activation, inplace=True)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H, W); halve H and W if the channels differ."""
        out = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        if self.shortcut:
            if self.stride == 2:
                # Option A: every second pixel, and zeros for the additional channels.
                added = out.shape[1] - x.shape[1]
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, added))
            out = out + x
        return self.activation(out)


class CifarResNet(nn.Module):
    """ResNet-20 to ResNet-110, and the plain networks of the same depth: 6n + 2 layers with weights.

    Parameters with 10 classes: 269,722 (20), 464,154 (32), 658,586 (44), 853,018 (56), 1,727,962 (110), with shortcuts
    or without. Convolutions start normal, fan in (He et al. 2015, "Delving deep into rectifiers", the paper's
    reference 13).

    Args (others in `cnnlab.models.layers`):
        depth: number of layers with weights, 6n + 2.
        shortcuts: False for the plain network.
        activation: after every norm except the last of a block, and after the sum.

    Raises:
        ValueError: if the depth is not 6n + 2.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        num_classes: int = 10,
        shortcuts: bool = True,
        activation: Activation = "relu",
        normalization: Normalization = "batch",
        width: float = 1.0,
    ):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 2, such as 20, 32, 44, 56 or 110, got {depth}")
        c16, c32, c64 = (scaled(channels, width) for channels in (16, 32, 64))

        def stage(in_channels: int, channels: int) -> nn.Sequential:
            first = CifarBlock(in_channels, channels, shortcuts, activation, normalization)
            others = (CifarBlock(channels, channels, shortcuts, activation, normalization) for _ in range(blocks - 1))
            return nn.Sequential(first, *others)

        self.conv1 = nn.Conv2d(in_channels, c16, kernel_size=3, padding=1, bias=normalization == "none")
        self.bn1 = normalization_layer(normalization, c16)
        self.activation = activation_layer(activation, inplace=True)
        self.layer1 = stage(c16, c16)
        self.layer2 = stage(c16, c32)
        self.layer3 = stage(c32, c64)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.activation(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))
