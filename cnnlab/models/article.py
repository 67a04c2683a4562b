"""The five-convolution net of an applied guide to CNNs: an AlexNet scaled to 32x32 pixels."""

from torch import Tensor, nn

from cnnlab.models.layers import (
    Activation,
    Normalization,
    Pooling,
    activation_layer,
    normalization_layers,
    pooling_layer,
    scaled,
)


class ArticleNet(nn.Module):
    """Five convolutions, three overlapping max-poolings and four linear layers.

    Shapes for images of 32x32 pixels, channels x height x width:

    ======================  ============
    conv 64, k4 p1          64 x 31 x 31
    max-pool 3, stride 2    64 x 15 x 15
    conv 192, k4 p1         192 x 14 x 14
    max-pool 3, stride 2    192 x 6 x 6
    conv 384, k3 p1         384 x 6 x 6
    conv 256, k3 p1         256 x 6 x 6
    conv 256, k3 p1         256 x 6 x 6
    max-pool 3, stride 2    256 x 2 x 2
    linear                  1024, 512, 256, num_classes
    ======================  ============

    2,997,642 parameters with 3 channels and 10 classes. The first linear layer fixes the image's size to what
    pools down to 2x2: 26 to 33 pixels. Weights start as torch's own defaults.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
        activation: after every convolution and linear layer but the last.
        pooling: `max` as in the guide, or `avg`.
        normalization: between a convolution and its activation; the guide's net has none.
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
        dropout: float = 0.5,
        width: float = 1.0,
    ):
        super().__init__()
        c64, c192, c384, c256, c512 = (scaled(channels, width) for channels in (64, 192, 384, 256, 512))

        def convolution(channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
            layer = nn.Conv2d(channels, out_channels, kernel_size, padding=1)
            return [layer, *normalization_layers(normalization, out_channels), activation_layer(activation)]

        self.features = nn.Sequential(
            *convolution(in_channels, c64, kernel_size=4),
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution(c64, c192, kernel_size=4),
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution(c192, c384, kernel_size=3),
            *convolution(c384, c256, kernel_size=3),
            *convolution(c256, c256, kernel_size=3),
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
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        return self.classifier(self.features(images))
