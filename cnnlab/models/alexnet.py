"""AlexNet (Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks")."""

from typing import Literal

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

Stem = Literal["cifar", "imagenet"]


class AlexNet(nn.Module):
    """Five convolutions, three overlapping max-poolings (section 3.4) and three linear layers.

    With `stem="imagenet"` the layers and their names are torchvision's, which are those of Krizhevsky's later, single
    tower ("One weird trick for parallelizing convolutional neural networks", 2014). For 32 pixels, two things change:
    the first convolution (11x11, stride 4, which would leave 7x7 pixels) is 5x5 with stride 1, and the first linear
    layer takes the 3x3 pixels that are left at the end:

    =============  =============  ============
    after          imagenet, 224  cifar, 32
    =============  =============  ============
    conv1          64 x 55 x 55   64 x 32 x 32
    pooling        64 x 27 x 27   64 x 15 x 15
    conv2, 5x5     192 x 27 x 27  192 x 15 x 15
    pooling        192 x 13 x 13  192 x 7 x 7
    conv3, 3x3     384 x 13 x 13  384 x 7 x 7
    conv4, 3x3     256 x 13 x 13  256 x 7 x 7
    conv5, 3x3     256 x 13 x 13  256 x 7 x 7
    pooling        256 x 6 x 6    256 x 3 x 3
    linear         4096, 4096     4096, 4096
    =============  =============  ============

    Parameters: 61,100,840 (imagenet, 1000 classes, as torchvision's); 28,714,826 (cifar, 10 classes).
    Weights start as torch's own defaults, which are torchvision's.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
        activation: after every layer with weights but the last; the paper's is ReLU, against tanh in its figure 1.
        pooling: `max` as in the paper, or `avg`.
        normalization: `local_response` normalizes the responses of the first two convolutions over neighbouring
            channels (section 3.3), which later networks left out; the others stand between each convolution and its
            activation.
        dropout: probability before the first and the second linear layer (section 4.2).
        width: factor on the channels and on the lengths of the hidden layers.
        stem: `cifar` or `imagenet`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        normalization: Normalization | Literal["local_response"] = "none",
        dropout: float = 0.5,
        width: float = 1.0,
        stem: Stem = "cifar",
    ):
        super().__init__()
        imagenet = stem == "imagenet"
        side = 6 if imagenet else 3
        c64, c192, c384, c256, c4096 = (scaled(channels, width) for channels in (64, 192, 384, 256, 4096))

        def after(channels: int, local_response: bool = False) -> list[nn.Module]:
            if normalization != "local_response":
                return [*normalization_layers(normalization, channels), activation_layer(activation)]
            # torch divides alpha by the number of channels, the paper does not: 5 * 1e-4.
            response = [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)] if local_response else []
            return [activation_layer(activation), *response]

        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c64, kernel_size=11, stride=4, padding=2)
            if imagenet
            else nn.Conv2d(in_channels, c64, kernel_size=5, padding=2),
            *after(c64, local_response=True),
            pooling_layer(pooling, kernel_size=3, stride=2),
            nn.Conv2d(c64, c192, kernel_size=5, padding=2),
            *after(c192, local_response=True),
            pooling_layer(pooling, kernel_size=3, stride=2),
            nn.Conv2d(c192, c384, kernel_size=3, padding=1),
            *after(c384),
            nn.Conv2d(c384, c256, kernel_size=3, padding=1),
            *after(c256),
            nn.Conv2d(c256, c256, kernel_size=3, padding=1),
            *after(c256),
            pooling_layer(pooling, kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(c256 * side * side, c4096),
            activation_layer(activation),
            nn.Dropout(dropout),
            nn.Linear(c4096, c4096),
            activation_layer(activation),
            nn.Linear(c4096, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))
