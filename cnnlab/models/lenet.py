"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", II.B)."""

from torch import Tensor, nn

from cnnlab.models.layers import (
    Activation,
    Normalization,
    Pooling,
    activation_layer,
    dropout_layers,
    normalization_layers,
    pooling_layer,
    scaled,
)


class LeNet5(nn.Module):
    """LeNet-5's layout as it is used today: 62,006 parameters with 3 channels and 10 classes.

    Shapes for images of 32x32 pixels, channels x height x width, with the paper's names:

    ==================  ============
    C1: conv 6, k5      6 x 28 x 28
    S2: pool 2          6 x 14 x 14
    C3: conv 16, k5     16 x 10 x 10
    S4: pool 2          16 x 5 x 5
    C5, F6, output      120, 84, num_classes
    ==================  ============

    Changed from the paper: full connections in C3, pooling without weights, an unscaled activation, and linear logits
    in place of the radial basis functions. `cnnlab.models.lenet_1998` has the paper's own. Weights start as torch's own
    defaults.

    Args:
        in_channels: channels of the images; the paper's have one.
        num_classes: length of the logits.
        activation: after every layer with weights but the last.
        pooling: `max`, or `avg`, which is nearer to the paper's subsampling.
        normalization: between a convolution and its activation; the paper has none.
        dropout: probability in [0, 1] of zeroing an input of the first and of the second linear layer.
        width: factor on the channels and on the lengths of the hidden layers.
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
            nn.Conv2d(in_channels, c6, kernel_size=5),
            *normalization_layers(normalization, c6),
            activation_layer(activation),
            pooling_layer(pooling, kernel_size=2, stride=2),
            nn.Conv2d(c6, c16, kernel_size=5),
            *normalization_layers(normalization, c16),
            activation_layer(activation),
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
        """Logits (N, num_classes) of images (N, in_channels, 32, 32)."""
        return self.classifier(self.features(images))
