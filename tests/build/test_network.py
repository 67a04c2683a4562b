from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.build.network import DescribedImages, build_knowing, build_network, check_image_shape, tabulate_network
from cnnlab.errors import RequestError

HERE = f"{__name__}."


class Lazy(nn.Sequential):
    def __init__(self, num_classes: int):
        layers = (nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
        super().__init__(*layers)


class Unreached(Lazy):
    def __init__(self, num_classes: int):
        super().__init__(num_classes)
        self.unreached = nn.LazyLinear(3)

    def forward(self, input: Tensor) -> Tensor:
        for layer in list(self)[:5]:
            input = layer(input)
        return input


class AllDimensions(nn.Module):
    """Has weights of 0 to 6 dimensions, complex ones, and some that no layer holds."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.plane, self.volume, self.line = nn.Conv2d(3, 4, 3), nn.Conv3d(1, 2, 3), nn.Conv1d(4, 4, 3)
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(2 * 4, num_classes)), nn.Parameter(torch.ones(()))])
        self.wave = nn.Parameter(torch.randn(4, dtype=torch.cfloat))
        self.six = nn.Parameter(torch.ones(1, 1, 1, 1, 1, 1))
        self.register_buffer("count", torch.zeros(1, 1, 1, 1, dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.volume(self.plane(images)[:, None]).mean(dim=2)
        maps = (
            torch.cat([self.line(part.flatten(2)).mean(2) for part in (self.plane(images), self.plane(-images))], 1)
            + maps.mean()
        )
        return maps * self.wave.abs().mean() @ self.weights[0] * self.weights[1] * self.six.squeeze()


class Failing(nn.Module):
    def __init__(self, error: str):
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise KeyError(self.error)


def unmakeable() -> nn.Module:
    raise KeyError("no network")


def scripted(num_classes: int) -> nn.Module:
    return torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, num_classes)), torch.zeros(1, 3, 8, 8))  # pyright: ignore


def compiled(num_classes: int) -> Any:
    return torch.compile(Lazy(num_classes), backend="eager")


def described(name: str, **options: Any) -> Any:
    return tabulate_network({"_target_": HERE + name, **options}, DescribedImages(8, 3, 5))


def test_lazy_layers_get_their_weights_from_an_image():
    network = build_network({"_target_": HERE + "Lazy"}, classes=5, image_size=8)
    assert [tuple(p.shape) for p in network.parameters()] == [(4, 3, 3, 3), (4,), (4,), (4,), (5, 4 * 36), (5,)]
    assert network[1].num_batches_tracked == 0 and torch.equal(network[1].running_mean, torch.zeros(4))  # type: ignore
    assert described("Lazy").parameters == sum(p.numel() for p in network.parameters())
    with pytest.raises(RequestError, match="model: unreached.weight has no shape: no image reaches this lazy layer"):
        build_network({"_target_": HERE + "Unreached"}, classes=5, image_size=8)


def test_weights_may_have_any_number_of_dimensions():
    network = build_network({"_target_": HERE + "AllDimensions"}, classes=5, image_size=8)
    assert check_image_shape(network, (3, 8, 8), 5).parameters == sum(p.numel() for p in network.parameters())
    assert network.plane.weight.is_contiguous(memory_format=torch.channels_last)  # pyright: ignore
    assert described("AllDimensions").parameters == sum(p.numel() for p in network.parameters())


def test_a_compiled_network_is_used_uncompiled():
    assert type(build_network({"_target_": HERE + "compiled"}, classes=5, image_size=8)) is Lazy


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"_target_": HERE + "Failing", "error": "deep inside"}, "model: KeyError: deep inside (test_network.py, line"),
        ({"_target_": HERE + "unmakeable"}, "model: KeyError: no network (test_network.py, line"),
        ({"_target_": HERE + "scripted"}, "model: a scripted or traced network cannot be inspected"),
        ({"_target_": "torch.nn.Flatten"}, "model: the network has 192 classes, the data have 5"),
        (
            {"_target_": "torch.nn.Identity"},
            "the network must return logits (images, classes), got float32 (1, 3, 8, 8)",
        ),
        ({"_target_": "torch.nn.LSTM", "input_size": 8, "hidden_size": 5}, "model: images of 3x8x8"),
        ({"_target_": "torch.nn.Transformer"}, "model: TypeError: "),
        ({"_target_": "torch.nn.ModuleList"}, "model: "),
    ],
)
def test_a_network_that_does_not_work_is_refused_in_one_line(model: dict[str, Any], message: str):
    def checked() -> None:
        check_image_shape(build_network(model, 5, 8), (3, 8, 8), 5)

    for refused in (checked, lambda: tabulate_network(model, DescribedImages(8, 3, 5))):
        with pytest.raises(RequestError) as caught:
            refused()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_function_may_have_the_name_of_its_module():
    network = build_network({"_target_": "torchvision.models.googlenet", "num_classes": 5, "init_weights": False}, 5)
    assert len(functional.softmax(network.eval()(torch.zeros(1, 3, 32, 32)), 1)[0]) == 5


def test_options_come_before_what_the_data_say():
    config = {"_target_": "torch.nn.Linear", "in_features": 3}
    assert build_knowing(config, "model", out_features=5, unknown=1).out_features == 5
    assert build_knowing({**config, "out_features": 7}, "model", out_features=5).out_features == 7
