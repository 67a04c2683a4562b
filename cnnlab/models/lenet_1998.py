"""Define LeNet-5 as its paper does.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.
The paper's images have 32x32 pixels, too. Shapes, channels x height x width, and parameters with one channel:

===============================================  ============  ==========
C1: conv 6, k5                                   6 x 28 x 28          156
S2: trained subsampling                          6 x 14 x 14           12
C3: conv 16, k5, 60 of 96 connections (table I)  16 x 10 x 10       1,516
S4: trained subsampling                          16 x 5 x 5            32
C5: conv 120, k5                                 120 x 1 x 1       48,120
F6: linear                                       84                10,164
output: radial basis functions, fixed            num_classes            0
===============================================  ============  ==========

Only the codes of the output differ from the paper, see `RadialBasis`. The paper trains with one image per step and with
a learning rate per weight from second derivatives. That is a recipe, and not part of the network.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

# Table I: for each of the 16 maps of C3, the maps of S2 that it sees.
C3_CONNECTIONS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class ScaledTanh(nn.Module):
    """Compute A tanh(S a) with A = 1.7159 and S = 2/3, which keeps 1 and -1 (equation 6 and appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map values of any shape one by one."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sum each 2x2 window, times a coefficient, plus a bias, both learned per channel (section II.B, S2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        _initialize(self, fan_in=4)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, channels, H // 2, W // 2)."""
        # Four times the mean equals the sum, bit for bit. ONNX has no sum pooling.
        means = nn.functional.avg_pool2d(x, 2)
        return means * (4 * self.coefficient[:, None, None]) + self.bias[:, None, None]


class PartialConvolution(nn.Module):
    """Convolve with 5x5 filters; each output map sees only some of the input maps (table I).

    The weights are one tensor (connections, 5, 5). They are copied into a full set of filters, zero elsewhere: one full
    convolution is faster than one convolution per output map. `connections` lists for each the input maps that it sees.
    """

    def __init__(self, connections: tuple[tuple[int, ...], ...], in_channels: int):
        super().__init__()
        self.shape = (len(connections), in_channels, 5, 5)
        self.weight = nn.Parameter(torch.empty(sum(map(len, connections)), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(connections)))
        positions = [out * in_channels + into for out, inputs in enumerate(connections) for into in inputs]
        self.register_buffer("positions", torch.tensor(positions), persistent=False)
        for weights, bias in zip(self.weight.data.split([*map(len, connections)]), self.bias.data, strict=True):
            bound = 2.4 / (25 * len(weights))
            nn.init.uniform_(weights, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, len(connections), H - 4, W - 4)."""
        out_channels, in_channels, height, width = self.shape
        filters = self.weight.new_zeros(out_channels * in_channels, height, width)
        filters = filters.index_copy(0, self.get_buffer("positions"), self.weight)
        return nn.functional.conv2d(x, filters.view(self.shape), self.bias)


class RadialBasis(nn.Module):
    """Compute the negative squared distance of F6's 84 states from a fixed code per class.

    The paper's codes are 7x12 bitmaps of the printed characters; it names random codes as the alternative (section
    II.B). Classes here need not be characters, so the codes are random, -1 or +1, from a fixed seed. The nearest code
    has the largest value, so negative distances serve as logits: their cross-entropy is the paper's equation 9 without
    its constant class.
    """

    def __init__(self, states: int, num_classes: int):
        super().__init__()
        generator = torch.Generator().manual_seed(1998)
        signs = torch.randint(2, (num_classes, states), generator=generator, device="cpu")
        self.register_buffer("codes", signs * 2.0 - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map states (N, states) to logits (N, num_classes), all 0 or less."""
        return -(x[:, None, :] - self.get_buffer("codes")).square().sum(2)


class LeNet5Of1998(nn.Module):
    """LeNet-5 of the paper: 60,000 trainable parameters with one channel, 60,300 with three.

    A scaled tanh follows every layer up to F6. Weights and biases start uniform between plus and minus 2.4 / (number of
    inputs of the unit) (appendix A).
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10):
        super().__init__()
        self.layers = nn.Sequential(
            OrderedDict(
                C1=_initialize(nn.Conv2d(in_channels, 6, kernel_size=5), in_channels * 25),
                C1_squash=ScaledTanh(),
                S2=Subsampling(6),
                S2_squash=ScaledTanh(),
                C3=PartialConvolution(C3_CONNECTIONS, in_channels=6),
                C3_squash=ScaledTanh(),
                S4=Subsampling(16),
                S4_squash=ScaledTanh(),
                C5=_initialize(nn.Conv2d(16, 120, kernel_size=5), 16 * 25),
                C5_squash=ScaledTanh(),
                flatten=nn.Flatten(),
                F6=_initialize(nn.Linear(120, 84), 120),
                F6_squash=ScaledTanh(),
                output=RadialBasis(84, num_classes),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        return self.layers(images)


def _initialize(layer: nn.Module, fan_in: int) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)
    return layer
