"""Define the network of the "Visual Guide to Applied Convolution Neural Networks": a small AlexNet for 32x32 pixels.

Shapes for 32x32 pixels, channels x height x width:

======================  ============
conv 64, k4 p1          64 x 31 x 31
max-pool 3, stride 2    64 x 15 x 15
conv 192, k4 p1         192 x 14 x 14
max-pool 3, stride 2    192 x 6 x 6
conv 384, k3 p1         384 x 6 x 6
conv 256, k3 p1         256 x 6 x 6
conv 256, k3 p1         256 x 6 x 6
max-pool 3, stride 2    256 x 2 x 2
linear                  512, 256, num_classes
======================  ============
"""

from torch import Tensor, nn

from cnnlab.models.layers import (
    Activation,
    Normalization,
    Pooling,
    activation_layer,
    convolution_layers,
    pooling_layer,
    scaled,
)


class ArticleNet(nn.Module):
    """Five convolutions, three overlapping max-poolings and three linear layers.

    2,997,642 parameters with 3 channels and 10 classes. The first linear layer needs maps of 2x2 pixels, so images must
    be 26 to 33 pixels high and wide. Weights start as torch's defaults. The guide's pooling is `max`, without
    normalization. `cnnlab.models.layers` explains the arguments.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        normalization: Normalization = "none",
        dropout: float = 0.5,
        width: float = 1.0,
    ):
        super().__init__()
        c64, c192, c384, c256, c512 = (scaled(channels, width) for channels in (64, 192, 384, 256, 512))
        self.features = nn.Sequential(
            *convolution_layers(in_channels, c64, 4, activation, normalization, padding=1),
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution_layers(c64, c192, 4, activation, normalization, padding=1),
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution_layers(c192, c384, 3, activation, normalization, padding=1),
            *convolution_layers(c384, c256, 3, activation, normalization, padding=1),
            *convolution_layers(c256, c256, 3, activation, normalization, padding=1),
            pooling_layer(pooling, kernel_size=3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(c256 * 2 * 2, c512),
            activation_layer(activation),
            nn.Dropout(dropout),
            nn.Linear(c512, c256),
            activation_layer(activation),
            nn.Linear(c256, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(images))
