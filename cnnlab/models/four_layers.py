"""Define a network of four layers (figure 1 in Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification ...").

The paper does not describe its network. The channels here are those of the small CIFAR-10 networks that Krizhevsky
published with cuda-convnet. Shapes for 32x32 pixels, channels x height x width:

==================  ============
conv 32, k5 p2      32 x 32 x 32
pool 2              32 x 16 x 16
conv 32, k5 p2      32 x 16 x 16
pool 2              32 x 8 x 8
conv 64, k5 p2      64 x 8 x 8
pool 2              64 x 4 x 4
linear              num_classes
==================  ============
"""

from typing import Literal

from torch import Tensor, nn

from cnnlab.models.layers import Activation, Normalization, Pooling, convolution_layers, pooling_layer, scaled

Downsampling = Literal["pooling", "stride"]
Initialization = Literal["torch", "alexnet"]


class FourLayers(nn.Module):
    """Three convolutions, each halving height and width, and a linear layer: small enough to study every part.

    89,578 parameters with 3 channels and 10 classes.

    Args (others in `cnnlab.models.layers`):
        image_size: height and width of the images, in pixels; it fixes the size of the linear layer.
        kernel_size: height and width of the filters, in pixels; odd.
        padding: `same` keeps height and width, `none` reduces them by `kernel_size - 1`.
        downsampling: `pooling` halves after the convolution, `stride` within it.
        pooling: `max` or `avg`; ignored with `downsampling="stride"`.
        initialization: first values of weights and biases. `torch`: torch's defaults. `alexnet`: section 5 of the
            paper, normal weights with standard deviation 0.01, biases 1 in the second convolution and 0 elsewhere.

    Raises:
        ValueError: if the kernel size is even, or no pixels remain.
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
        initialization: Initialization = "torch",
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        border = kernel_size // 2 if padding == "same" else 0
        stride = 2 if downsampling == "stride" else 1
        layers: list[nn.Module] = []
        size = image_size
        for channels in (scaled(channels, width) for channels in (32, 32, 64)):
            layers += convolution_layers(
                in_channels, channels, kernel_size, activation, normalization, stride=stride, padding=border
            )
            size = (size + 2 * border - kernel_size) // stride + 1
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
        if initialization == "alexnet":
            _initialize_as_alexnet(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        return self.classifier(self.features(images))


def _initialize_as_alexnet(network: nn.Module) -> None:
    """Set the first weights and biases as section 5 of the AlexNet paper does."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers, start=1):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 1.0 if number == 2 else 0.0)
