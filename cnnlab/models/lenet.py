"""Define LeNet-5 as it is used today.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.
Shapes for 32x32 pixels (the paper's own size), channels x height x width, with the paper's names:

==================  ============
C1: conv 6, k5      6 x 28 x 28
S2: pool 2          6 x 14 x 14
C3: conv 16, k5     16 x 10 x 10
S4: pool 2          16 x 5 x 5
C5, F6, output      120, 84, num_classes
==================  ============

Changes from the paper: C3 is fully connected, pooling has no weights, the activation is not scaled, and the output is
linear instead of radial basis functions. `cnnlab.models.lenet_1998` is the paper's version.
"""

from torch import Tensor, nn

from cnnlab.models.layers import (
    Activation,
    Normalization,
    Pooling,
    activation_layer,
    convolution_layers,
    dropout_layers,
    pooling_layer,
    scaled,
)


class LeNet5(nn.Module):
    """Two convolutions, two poolings and three linear layers: 62,006 parameters with 3 channels and 10 classes.

    Weights start as torch's defaults. The paper's images have one channel; the pooling `avg` is closer to its own, and
    it has no normalization. `cnnlab.models.layers` explains the arguments.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        normalization: Normalization = "none",
        dropout: float = 0.0,
        width: float = 1.0,
    ):
        super().__init__()
        c6, c16, c120, c84 = (scaled(channels, width) for channels in (6, 16, 120, 84))
        self.features = nn.Sequential(
            *convolution_layers(in_channels, c6, 5, activation, normalization),
            pooling_layer(pooling, kernel_size=2, stride=2),
            *convolution_layers(c6, c16, 5, activation, normalization),
            pooling_layer(pooling, kernel_size=2, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *dropout_layers(dropout),
            nn.Linear(c16 * 5 * 5, c120),
            activation_layer(activation),
            *dropout_layers(dropout),
            nn.Linear(c120, c84),
            activation_layer(activation),
            nn.Linear(c84, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        return self.classifier(self.features(images))
