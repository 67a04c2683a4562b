from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from cnnlab.arguments import check_arguments, fits
from cnnlab.data.augment import Augmentation
from cnnlab.errors import RequestError
from cnnlab.instantiate import build, explained, first_line, read_options
from cnnlab.limits import Count
from cnnlab.models.lenet import LeNet5

AUGMENTATION = "cnnlab.data.augment.Augmentation"
LENET = "cnnlab.models.lenet.LeNet5"
Config = dict[str, Any]


def request_error(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_target_is_called_with_the_other_keys() -> None:
    assert build({"_target_": AUGMENTATION, "pad": 4, "flip": "random"}, "augmentation") == Augmentation(
        4, flip="random"
    )


def test_extra_arguments_are_passed_on() -> None:
    network = build({"_target_": LENET, "activation": "tanh"}, "model", num_classes=7)
    assert isinstance(network, LeNet5)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_partial_waits_for_more_arguments() -> None:
    make = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.25, "momentum": 0.5}, "optimizer")
    assert isinstance(make, partial)
    optimizer = make([torch.zeros(1, requires_grad=True)])
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_inner_configurations_are_built_first() -> None:
    config = {
        "_target_": "cnnlab.data.datamodule.ImageDataModule",
        "source": "digits",
        "augmentation": {"_target_": AUGMENTATION, "pad": 2},
    }
    assert build(config, "data").augmentation == Augmentation(pad=2)
    config["augmentation"]["pad"] = -2  # pyright: ignore[reportArgumentType, reportIndexIssue]
    assert request_error(build, config, "data") == "data.augmentation.pad must be 0 or more, got -2"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"padd": 3}, "augmentation.padd is not a key; did you mean augmentation.pad?"),
        (
            {"zzzz": 3},
            "augmentation.zzzz is not a key; known: brightness, contrast, cutmix, cutout, erasing, flip, grey, hue, "
            "mix_probability, mixup, pad, padding_mode, policy, rand_magnitude, rand_operations, rotation, saturation, "
            "scale, shear, sizes, then",
        ),
        ({"pad": "three"}, "augmentation.pad must be a whole number, got 'three'"),
        ({"pad": 2.5}, "augmentation.pad must be a whole number, got 2.5"),
        ({"pad": True}, "augmentation.pad must be a whole number, got True"),
        ({"pad": None}, "augmentation.pad must be a whole number, got None"),
        ({"flip": 3}, "augmentation.flip must be one of none, random, alternating, got 3"),
        (
            {"flip": "randm"},
            "augmentation.flip must be one of none, random, alternating, got 'randm'; did you mean random?",
        ),
        ({"pad": -1}, "augmentation.pad must be 0 or more, got -1"),
    ],
)
def test_wrong_argument_is_named_with_what_would_be_right(config: Config, message: str) -> None:
    assert request_error(build, {"_target_": AUGMENTATION, **config}, "augmentation") == message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 1}, "optimizer.learning_rate is not a key"),
        ({"weight_decy": 1}, "did you mean optimizer.weight_decay?"),
        ({"lr": "fast"}, "optimizer.lr must be "),
        ({"nesterov": "yes"}, "optimizer.nesterov must be true or false, got 'yes'"),
    ],
)
def test_partial_is_checked_when_it_is_made(config: Config, message: str) -> None:
    assert message in request_error(build, {"_target_": "torch.optim.SGD", "_partial_": True, **config}, "optimizer")


def test_value_that_the_target_refuses_is_named() -> None:
    message = request_error(build, {"_target_": "torch.nn.Dropout", "p": 1.5}, "dropout")
    assert message.startswith("dropout.p")
    assert "1.5" in message


@pytest.mark.parametrize("config", [{}, {"pad": 3}, None, 3, "text"])
def test_missing_target_is_said(config: Any) -> None:
    assert request_error(build, config, "model") == "model must have a _target_: the name of a class or function"


@pytest.mark.parametrize(
    "target", ["cnnlab.models.lenet.LeNet6", "no_such_package.Net", "LeNet5", "", 3, None, "torch.optim", "math.pi"]
)
def test_target_that_cannot_be_called_is_named(target: Any) -> None:
    message = request_error(build, {"_target_": target}, "model")
    assert message.startswith("model._target_: ")
    assert repr(target) in message


def test_missing_argument_is_said() -> None:
    message = request_error(build, {"_target_": "cnnlab.models.resnet.ResNet"}, "model")
    assert message.startswith("model: ")
    assert "depth" in message


def test_extra_argument_that_the_target_lacks_is_said() -> None:
    message = request_error(build, {"_target_": "torch.nn.ReLU"}, "model", num_classes=10)
    assert "num_classes is not a key" in message


def test_configuration_is_not_changed() -> None:
    config = {"_target_": AUGMENTATION, "pad": 1}
    build(config, "augmentation")
    assert config == {"_target_": AUGMENTATION, "pad": 1}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("pad must be small", "key.pad must be small"),
        ("the value of pad is bad", "key.pad: the value of pad is bad"),
        ("17 is too large", "key.pad: 17 is too large"),
        ("117 is too large", "key: 117 is too large"),
        ("17.5 is too large", "key: 17.5 is too large"),
        ("nothing works\nat all", "key: nothing works"),
        ("", "key: ValueError"),
    ],
)
def test_value_errors_name_the_key(message: str, expected: str) -> None:
    def fail() -> None:
        with explained("key", {"pad": 17, "flip": "none"}):
            raise ValueError(message)

    assert request_error(fail) == expected


@dataclass(frozen=True)
class Options:
    count: Count
    limit: Count | None = None
    mode: Literal["fast", "slow"] = "fast"
    names: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode == "slow" and self.limit is None:
            raise ValueError("limit: slow needs one")


def test_options_are_read_from_the_keys_of_a_command() -> None:
    assert read_options(Options, {"count": 3, "mode": "fast", "seed": 0}) == Options(3)


@pytest.mark.parametrize(
    ("values", "prefix", "message"),
    [
        ({"count": "3"}, "", "count must be a whole number, got '3'"),
        ({"count": 0}, "", "count must be 1 or more, got 0"),
        ({"count": 1, "limit": 0}, "reach", "reach.limit must be 1 or more, got 0"),
        ({"count": 1, "mode": "slow"}, "", "limit: slow needs one"),
        ({"count": 1, "mode": "slow"}, "reach", "reach.limit: slow needs one"),
        ({"count": 1, "mode": "slo"}, "", "mode must be one of fast, slow, got 'slo'; did you mean slow?"),
        ({"limit": 1}, "", "count must be given"),
        ({"limit": 1}, "reach", "reach.count must be given"),
        ({"count": 1, "limits": 1}, "reach", "reach.limits is not a key; did you mean reach.limit?"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(values: Config, prefix: str, message: str) -> None:
    assert request_error(read_options, Options, values, prefix) == message


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="a bug"), explained("key"):
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (1, float, True),
        (1.0, int, False),
        (True, int, False),
        (True, float, False),
        (True, bool, True),
        (1, bool, False),
        (None, int | None, True),
        (None, int, False),
        ("a", int | str, True),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (1, Literal[True], False),
        ([1.0, 2], list[float], True),
        ([1.0, "2"], list[float], False),
        ("12", list[str], False),
        ([1, 2], tuple[int, int], True),
        ("text", Path, True),
        (3, Path, False),
        (3, Callable[[int], int], True),
        (3, Any, True),
        (torch.zeros(1), torch.Tensor, True),
    ],
)
def test_fits(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


def test_arguments_of_an_open_ended_function_are_free() -> None:
    def anything(pad: int, **rest: Any) -> None: ...

    check_arguments(anything, {"pad": 3, "whatever": "x"}, "key")
    assert request_error(check_arguments, anything, {"pad": "x"}, "key") == "key.pad must be a whole number, got 'x'"


def test_first_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"
