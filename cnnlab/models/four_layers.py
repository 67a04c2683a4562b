"""A net of four layers, such as the one of figure 1 in Krizhevsky, Sutskever and Hinton 2012 (AlexNet)."""

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

Downsampling = Literal["pooling", "stride"]


class FourLayers(nn.Module):
    """Three convolutions, each of which halves the map, and a linear layer: small enough to ask what each part is for.

    The paper does not print its net; the channels are those of the small CIFAR-10 nets that Krizhevsky published with
    cuda-convnet. Shapes for images of 32x32 pixels, channels x height x width:

    ==================  ============
    conv 32, k5 p2      32 x 32 x 32
    pool 2              32 x 16 x 16
    conv 32, k5 p2      32 x 16 x 16
    pool 2              32 x 8 x 8
    conv 64, k5 p2      64 x 8 x 8
    pool 2              64 x 4 x 4
    linear              num_classes
    ==================  ============

    89,578 parameters with 3 channels and 10 classes. Weights start as torch's own defaults.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
        image_size: height and width of the images, in pixels: the linear layer is made for it.
        activation: after every convolution.
        kernel_size: of the convolutions, in pixels; odd.
        padding: `same` keeps the size of the map, `none` takes `kernel_size - 1` pixels from it.
        downsampling: what halves the map: `pooling` after the convolution, or `stride` 2 within it.
        pooling: `max` or `avg`; without effect where the stride halves the map.
        normalization: between a convolution and its activation.
        width: factor on the channels.

    Raises:
        ValueError: when the kernel is even, or the map has no pixels left.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        activation: Activation = "relu",
        kernel_size: int = 5,
        padding: Literal["same", "none"] = "same",
        downsampling: Downsampling = "pooling",
        pooling: Pooling = "max",
        normalization: Normalization = "none",
        width: float = 1.0,
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        border = kernel_size // 2 if padding == "same" else 0
        stride = 2 if downsampling == "stride" else 1
        layers: list[nn.Module] = []
        size = image_size
        for channels in (scaled(channels, width) for channels in (32, 32, 64)):
            size = (size + 2 * border - kernel_size) // stride + 1
            layers += [
                nn.Conv2d(in_channels, channels, kernel_size, stride, border),
                *normalization_layers(normalization, channels),
                activation_layer(activation),
            ]
            if downsampling == "pooling":
                layers.append(pooling_layer(pooling, kernel_size=2, stride=2))
                size //= 2
            if size < 1:
                raise ValueError(
                    f"images of {image_size} pixels have none left after {len(layers)} layers with "
                    f"kernel_size {kernel_size} and padding {padding}"
                )
            in_channels = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * size**2, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, image_size, image_size)."""
        return self.classifier(self.features(images))
