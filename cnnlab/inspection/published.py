"""List published figures about networks: parameters, multiplications, accuracy on CIFAR-10."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCALE = {"": 1, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Figure:
    """Count as it was printed."""

    digits: str  # such as `0.27`; the number of decimals tells how it was rounded
    unit: Literal["", "M", "G"] = ""  # none, M (millions) or G (billions)

    def __str__(self) -> str:
        return f"{self.digits} {self.unit}" if self.unit else f"{int(self.digits):,}"

    def agrees(self, count: int) -> bool:
        """Return whether a count, rounded like this figure, equals it."""
        decimals = len(self.digits.partition(".")[2])
        return f"{count / SCALE[self.unit]:.{decimals}f}" == self.digits

    def difference(self, count: int) -> float:
        """Return by what fraction of this figure a count exceeds it."""
        return count / (float(self.digits) * SCALE[self.unit]) - 1


@dataclass(frozen=True)
class Published:
    """Figures of one source about one network, with certain options and images."""

    model: str  # name of the network in conf/model
    options: Mapping[str, Any] = field(hash=False)  # the options with which it is the network of the source
    source: str  # paper and table, or the library's own description of its weights
    classes: int = 10  # number of classes
    image_size: int = 32  # pixels a side
    channels: int = 3  # of the images
    parameters: Figure | None = None  # number of trainable parameters
    macs: Figure | None = None  # multiply-accumulate operations for one image
    accuracy: float | None = None  # on CIFAR-10's test images, from 0 to 1


def published(
    model: str, options: Mapping[str, Any], classes: int, image_shape: tuple[int, int, int]
) -> list[Published]:
    """Return what is published about exactly this network, for images (C, H, W).

    `model` is its name in conf/model. Options that no entry names do not change any count.
    """
    return [
        entry
        for entry in (*TABLE, *(_of_torchvision(model, options) if classes == IMAGENET[0] else ()))
        if (entry.model, entry.classes) == (model, classes)
        and (entry.channels, entry.image_size, entry.image_size) == image_shape
        and all(options.get(key) == value for key, value in entry.options.items())
    ]


HE_CIFAR = "He et al. 2015, Deep residual learning, table 6"
HE_IMAGENET = "He et al. 2015, Deep residual learning, table 1"
SIMONYAN = "Simonyan and Zisserman 2014, table 2"
MMPRETRAIN = "mmpretrain, configs/resnet/README.md, CIFAR-10"
KUANGLIU = "kuangliu/pytorch-cifar, README.md"
GUIDE = "Visual Guide to Applied Convolution Neural Networks; 50 epochs, selected on the test images"

VGG = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
BATCH_NORM = {"normalization": "batch", "width": 1.0}
RESNET = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101, "resnet152": 152}

IMAGENET = (1000, 224)  # classes and image size


def _resnet(model: str, stem: str) -> dict[str, Any]:
    return {"depth": RESNET[model], "stem": stem, **BATCH_NORM}


def _vgg(model: str, stem: str, batch_norm: bool) -> dict[str, Any]:
    return {"configuration": VGG[model], "batch_norm": batch_norm, "stem": stem, "width": 1.0}


# Networks of the zoo that are also torchvision's.
SHARED = {
    "alexnet": {"stem": "imagenet", "normalization": "none", "width": 1.0},
    **{model: _resnet(model, "imagenet") for model in RESNET},
    **{model: _vgg(model, "imagenet", False) for model in VGG},
}


def _of_torchvision(model: str, options: Mapping[str, Any]) -> list[Published]:
    """Return what torchvision prints about one of its networks, or about a network of the zoo that is the same."""
    name, needed = model, SHARED.get(model, {})
    if model == "torchvision":
        name = str(options["name"])
        needed = {"name": name}
    elif model in VGG and options.get("batch_norm"):
        name, needed = f"{model}_bn", _vgg(model, "imagenet", True)
    if not needed or name == "inception_v3":  # whose printed count includes outputs that only training uses
        return []
    from torchvision import models  # takes seconds

    weights: Any = next(iter(models.get_model_weights(name)))
    counts = Figure(str(weights.meta["num_params"])), Figure(str(weights.meta["_ops"]), "G")
    return [Published(model, needed, f"torchvision, {weights}", 1000, weights.transforms().crop_size[0], 3, *counts)]


TABLE = (
    # Designed for CIFAR-10.
    Published("article", {"activation": "relu", "normalization": "none", "width": 1.0}, GUIDE, accuracy=0.794),
    *(
        Published(
            f"resnet{depth}",
            {"depth": depth, "shortcuts": True, **BATCH_NORM},
            HE_CIFAR,
            parameters=Figure(millions, "M"),
            accuracy=accuracy,
        )
        for depth, millions, accuracy in (
            (20, "0.27", 0.9125),
            (32, "0.46", 0.9249),
            (44, "0.66", 0.9283),
            (56, "0.85", 0.9303),
            (110, "1.7", 0.9357),
        )
    ),
    # The paper's 340,908 connections include biases and subsampling, so they are no count of MACs.
    Published("lenet5_1998", {}, "LeCun et al. 1998, section II.B", channels=1, parameters=Figure("60000")),
    # Designed for ImageNet, here with a stem or head for 32 pixels.
    *(
        Published(
            model,
            _resnet(model, "cifar"),
            MMPRETRAIN,
            parameters=Figure(millions, "M"),
            macs=Figure(billions, "G"),
            accuracy=accuracy,
        )
        for model, millions, billions, accuracy in (
            ("resnet18", "11.17", "0.56", 0.9482),
            ("resnet34", "21.28", "1.16", 0.9534),
            ("resnet50", "23.52", "1.31", 0.9555),
            ("resnet101", "42.51", "2.52", 0.9558),
            ("resnet152", "58.16", "3.74", 0.9576),
        )
    ),
    *(
        Published(model, _resnet(model, "cifar"), KUANGLIU, accuracy=accuracy)
        for model, accuracy in (("resnet18", 0.9302), ("resnet50", 0.9362), ("resnet101", 0.9375))
    ),
    Published("vgg16", _vgg("vgg16", "cifar", True), KUANGLIU, accuracy=0.9264),
    # Designed for ImageNet, in the original form. The paper's bottlenecks have the stride in the first convolution.
    # Ours and torchvision's have it in the second, which costs more. For the other networks the paper rounds down.
    *(
        Published(model, _resnet(model, "imagenet"), HE_IMAGENET, *IMAGENET, macs=Figure(gmac, "G"))
        for model, gmac in zip(RESNET, ("1.8", "3.6", "3.8", "7.6", "11.3"), strict=True)
    ),
    *(
        Published(model, _vgg(model, "imagenet", False), SIMONYAN, *IMAGENET, parameters=Figure(millions, "M"))
        for model, millions in zip(VGG, ("133", "133", "138", "144"), strict=True)
    ),
)
