"""Define AlexNet.

Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks", section 3.
With `stem="imagenet"`, layers and names are torchvision's. They follow Krizhevsky's later version for one GPU (2014,
"One weird trick for parallelizing convolutional neural networks"). For 32 pixels, `stem="cifar"` changes two layers.
The first convolution is 5x5 with stride 1 (11x11 with stride 4 would leave 7x7 pixels). The first linear layer takes
the 3x3 pixels that remain at the end. Shapes, channels x height x width:

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
"""

from typing import Literal

from torch import Tensor, nn

from cnnlab.models.layers import (
    Activation,
    Normalization,
    Pooling,
    Stem,
    activation_layer,
    convolution_layers,
    pooling_layer,
    scaled,
)


class AlexNet(nn.Module):
    """Five convolutions, three overlapping max-poolings (section 3.4) and three linear layers.

    Parameters: 28,714,826 (cifar, 10 classes); 61,100,840 (imagenet, 1000 classes). Weights start as torch's defaults,
    as in torchvision.

    Args (others in `cnnlab.models.layers`):
        activation: figure 1 of the paper compares ReLU and tanh.
        pooling: `max` as in the paper, or `avg`.
        normalization: `local_response` normalizes the outputs of the first two convolutions over neighbouring channels
            (section 3.3); later networks left it out. The others stand between a convolution and its activation.
        dropout: of section 4.2.
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
        c64, c192, c384, c256, c4096 = (scaled(channels, width) for channels in (64, 192, 384, 256, 4096))
        side = 6 if stem == "imagenet" else 3
        norm: Normalization = "none" if normalization == "local_response" else normalization
        # Torch divides alpha by the 5 channels, the paper does not: 5 * 1e-4.
        count = 2 if normalization == "local_response" else 0
        responses = [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) for _ in range(count)]
        kernel_size, stride = (11, 4) if stem == "imagenet" else (5, 1)
        self.features = nn.Sequential(
            *convolution_layers(in_channels, c64, kernel_size, activation, norm, stride=stride, padding=2),
            *responses[:1],
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution_layers(c64, c192, 5, activation, norm, padding=2),
            *responses[1:],
            pooling_layer(pooling, kernel_size=3, stride=2),
            *convolution_layers(c192, c384, 3, activation, norm, padding=1),
            *convolution_layers(c384, c256, 3, activation, norm, padding=1),
            *convolution_layers(c256, c256, 3, activation, norm, padding=1),
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
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))
