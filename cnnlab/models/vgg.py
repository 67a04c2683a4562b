"""Define VGG (Simonyan, Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", table 1).

With `stem="imagenet"`, layers and names are torchvision's: average pooling to 7x7 and the paper's three linear layers,
for images of 224 pixels. At 32 pixels, the five poolings leave 512 channels of 1x1. So `stem="cifar"` has a single
linear layer from these 512 to the classes, instead of 119 million weights. Shapes, channels x height x width:

=========  ==============  =============
stage      imagenet, 224   cifar, 32
=========  ==============  =============
1          64 x 112 x 112  64 x 16 x 16
2          128 x 56 x 56   128 x 8 x 8
3          256 x 28 x 28   256 x 4 x 4
4          512 x 14 x 14   512 x 2 x 2
5          512 x 7 x 7     512 x 1 x 1
=========  ==============  =============
"""

from typing import Literal

from torch import Tensor, nn

from cnnlab.models.layers import Activation, Pooling, Stem, activation_layer, convolution_layers, pooling_layer, scaled

Configuration = Literal["A", "B", "D", "E"]

# Channels of the 3x3 convolutions in each of the five stages.
STAGES: dict[Configuration, tuple[tuple[int, ...], ...]] = {
    "A": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "B": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "D": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "E": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}


class VGG(nn.Module):
    """Five stages of 3x3 convolutions; a pooling at the end of each halves height and width.

    Parameters of the cifar form with batch norm and 10 classes: 9,231,114 (A), 9,416,010 (B), 14,728,266 (D) and
    20,040,522 (E). Batch norm came after the paper (Ioffe and Szegedy 2015). Weights start as in torchvision:
    convolutions normal, fan out (He et al. 2015, "Delving deep into rectifiers"), linear layers normal with standard
    deviation 0.01, biases zero.

    Args (others in `cnnlab.models.layers`):
        configuration: column of table 1: A, B, D and E have 11, 13, 16 and 19 layers with weights.
        batch_norm: whether a batch norm follows every convolution.
        pooling: `max` as in the paper, or `avg`.
        dropout: probability before the second and third linear layer of the imagenet form.
        stem: `cifar` or `imagenet`.
    """

    def __init__(
        self,
        configuration: Configuration,
        in_channels: int = 3,
        num_classes: int = 10,
        batch_norm: bool = True,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        dropout: float = 0.5,
        width: float = 1.0,
        stem: Stem = "cifar",
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in STAGES[configuration]:
            for out_channels in (scaled(c, width) for c in stage):
                norm = "batch" if batch_norm else "none"
                layers += convolution_layers(channels, out_channels, 3, activation, norm, padding=1)
                channels = out_channels
            layers.append(pooling_layer(pooling, kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        if stem == "imagenet":
            hidden = scaled(4096, width)
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(channels * 7 * 7, hidden),
                activation_layer(activation),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
                activation_layer(activation),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W), H and W at least 32, to logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))
