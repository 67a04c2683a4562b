"""The five-convolution net of an applied guide to CNNs: an AlexNet scaled to 32x32 pixels."""

from torch import Tensor, nn

from cnnlab.models.layers import Activation, activation_layer


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
    pools down to 2x2: 26 to 33 pixels.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
        activation: after every convolution and linear layer but the last.
        dropout: probability in [0, 1] of zeroing an input of the first and of the second linear layer.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 10, activation: Activation = "relu", dropout: float = 0.5
    ):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size=4, padding=1),
            activation_layer(activation),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=4, padding=1),
            activation_layer(activation),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            activation_layer(activation),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            activation_layer(activation),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            activation_layer(activation),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(256 * 2 * 2, 512),
            activation_layer(activation),
            nn.Dropout(dropout),
            nn.Linear(512, 256),
            activation_layer(activation),
            nn.Linear(256, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        return self.classifier(self.features(images))
