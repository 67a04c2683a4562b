"""Rehearse a training step and an evaluation with a copy of the network, to say before the training what fails."""

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import describe_error, explained
from cnnlab.training.classifier import Classifier
from cnnlab.training.losses import LossFunction, all_logits
from cnnlab.training.scheduling import check_readable

IMAGES = 3
FAR = 10_000.0  # from usual logits


def rehearse(
    classifier: Classifier, trainer: L.Trainer, shape: tuple[int, int, int], classes: int, mixed: bool
) -> None:
    """Evaluate and train a copy of the network with a few random images. Random generators stay as they are.

    Images have the shape (C, H, W), labels the classes of the data; if `mixed`, they are probabilities (N, classes).

    Raises:
        RequestError: if the network fails, changes its images, or returns anything but logits; or if the averaging of
            weights needs a copy and there can be none.
    """
    with (
        explained("model", errors=Exception),
        _number_format_named(trainer),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        if (network := _copy(classifier.network, trainer)) is None:
            return
        shapes = _shapes(network)
        torch.manual_seed(0)
        images = torch.randn(IMAGES, *shape[1:], shape[0]).permute(0, 3, 1, 2)  # in the layout of the loader
        labels = torch.arange(IMAGES) % classes
        if mixed:
            labels = nn.functional.one_hot(labels, classes).float()
        with trainer.precision_plugin.forward_context():
            with torch.no_grad():
                _check_outputs([_run(network.eval(), images)], classes, "evaluation")
            outputs = all_logits(_run(network.train(), images))
            _check_outputs(outputs, classes, "training")
            loss = sum(classifier.loss(logits.float(), labels) for logits in outputs)
            _check_bounded(classifier.loss, outputs[0].detach().float(), labels)
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ValueError("no trained weight has an influence on the network's outputs")
        _check_state(shapes, network)
        loss.backward()
    with explained("optimizer", errors=Exception):
        classifier.make_optimizer(classifier.optimizer, network).step(lambda: loss)


@contextlib.contextmanager
def _number_format_named(trainer: L.Trainer) -> Iterator[None]:
    """Name the number format in an error, if it may be the reason."""
    try:
        yield
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if str(trainer.precision) == "32-true":
            raise
        hint = f"; if the reason is {trainer.precision}: trainer.precision=32-true"
        raise ValueError(describe_error(error) + hint) from None


def _shapes(network: nn.Module) -> dict[str, Any]:
    """Return the shapes of everything that a checkpoint holds; None for what is no tensor."""
    return {name: getattr(value, "shape", None) for name, value in network.state_dict().items()}


def _check_state(before: dict[str, Any], network: nn.Module) -> None:
    """Raise a ValueError if a checkpoint of the trained network could not be loaded."""
    state = network.state_dict()
    for name, shape in _shapes(network).items():
        if shape != before.get(name, shape) or (shape is None and not name.endswith("_extra_state")):
            raise ValueError(f"{name} is no tensor of a constant shape, so a checkpoint could not be loaded")
    check_readable({name: state[name] for name, shape in before.items() if shape is None}, "extra state")


def _copy(network: nn.Module, trainer: L.Trainer) -> nn.Module | None:
    """Return a copy of a network; None if it has none, and none is needed."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # a module may raise anything
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # pyright: ignore
            problem = "the network cannot be copied, which averaging needs; averaging=null"
            raise ValueError(f"{problem} ({describe_error(error)})") from None
        return None


def _run(network: nn.Module, images: Tensor) -> Any:
    """Run images through a network; raise a ValueError if it changes them."""
    before = images._version
    output = network(images)
    if images._version != before:
        raise ValueError("the network changes its images in place; let its first operation work on a copy")
    return output


def _check_outputs(outputs: list[Any], classes: int, mode: str) -> None:
    """Raise a ValueError if not all outputs are logits for each of the images."""
    for output in outputs:
        kind = type(output).__name__
        if isinstance(output, Tensor):
            kind = f"{output.dtype} {tuple(output.shape)}".removeprefix("torch.")
            if output.shape == (IMAGES, classes) and output.is_floating_point():
                continue
        expected = f"logits ({IMAGES}, {classes}) for {IMAGES} images"
        raise ValueError(f"in {mode}, the network must return {expected}, got {kind}")


def _check_bounded(loss: LossFunction, logits: Tensor, labels: Tensor) -> None:
    """Raise a ValueError if a loss of log-probabilities gets logits: it would fall without end."""
    are_probabilities = logits.logsumexp(dim=1).abs().max() < 0.01
    lowest = min(loss(logits + FAR, labels), loss(logits - FAR, labels))
    if not are_probabilities and lowest < loss(logits, labels) - FAR / 10:
        need = "NLLLoss and KLDivLoss need one that ends in LogSoftmax, CrossEntropyLoss does not"
        raise RequestError(f"loss: it falls without end for the logits of this network; {need}")
