"""Find the logits in what a network returns; try a loss before the training, and give it the labels that it takes."""

import functools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.instantiate import describe_error

LossFunction = Callable[..., Any]


def all_logits(output: Any) -> list[Any]:
    """Return the logits that a network returns in training: its own, then those of auxiliary classifiers.

    The output is one tensor (N, classes), or several in a tuple, list or mapping; in a mapping, the network's own are
    called `logits` or `out`, or come first.
    """
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        parts = dict(output)
        first = next((name for name in ("logits", "out") if name in parts), None)
        output = [parts.pop(first), *parts.values()] if first else parts.values()
    return [part for part in output if part is not None] if isinstance(output, Iterable) else [output]


class Loss(nn.Module):
    """Calls a function of logits and labels; if `one_hot`, labels become probabilities, float (N, classes).

    Tensors among the arguments of a `functools.partial` move with this module.
    """

    def __init__(self, function: LossFunction, one_hot: bool = False):
        super().__init__()
        self.function = function
        self.one_hot = one_hot
        keywords = function.keywords if isinstance(function, functools.partial) else {}
        self._tensors = [name for name, value in keywords.items() if isinstance(value, Tensor)]
        for name in self._tensors:
            self.register_buffer(name, keywords[name])

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Map logits (N, classes) and labels, classes (N,) or probabilities (N, classes), to a scalar."""
        if self.one_hot and labels.ndim == 1:
            labels = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return self.function(logits, labels, **{name: getattr(self, name) for name in self._tensors})


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Return a weight for each class, inverse to its number of training images, with a mean of 1 over the images.

    A class without images gets 0.
    """
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


def tried_loss(loss: Any, classes: int, mixed: bool) -> nn.Module:
    """Try a loss on random logits, and return it as a module that takes this training's labels.

    A loss that takes no class numbers gets one-hot probabilities. If images are mixed, all labels are probabilities.

    Raises:
        ValueError: if the loss takes neither kind of labels, or returns anything but a finite mean over the images that
            has a gradient.
    """
    if not callable(loss):
        raise ValueError(f"_target_ makes {type(loss).__name__} instead of a function of logits and labels")
    if isinstance(loss, functools.partial) and isinstance(loss.func, type):
        raise ValueError("_partial_ is for functions, not for a class")
    module = loss if isinstance(loss, nn.Module) else Loss(loss)
    if any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError("a loss with weights of its own is not trained")
    for name, weights in module.named_buffers():
        if name.rpartition(".")[2] in ("weight", "pos_weight") and weights.ndim == 1:
            if len(weights) != classes:
                raise ValueError(f"{name} must have {classes} numbers, one per class, got {len(weights)}")
            if (weights < 0).any():
                raise ValueError(f"{name} must be 0 or more, got {float(weights.min()):g}")
    generator = torch.Generator().manual_seed(0)
    images = max(classes + 1, 5)  # another number than that of the classes, so that the two are not mistaken
    logits = torch.randn(images, classes, generator=generator).requires_grad_()
    labels = torch.arange(images) % classes
    shares = torch.rand(images, classes, generator=generator).softmax(dim=1)
    labels = shares if mixed else labels
    errors: list[Exception] = []
    for kind in [module] if mixed else [module, Loss(module, one_hot=True)]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about shapes that do not fit
                value = kind(logits, labels)
        except Exception as error:  # a loss may raise anything
            errors.append(error)
            continue
        _check_value(value, logits)
        twice = kind(torch.cat([logits, logits]), torch.cat([labels, labels])).item()
        if value != 0 and math.isclose(twice, 2 * value.item(), rel_tol=1e-4):
            raise ValueError("the loss must be the mean over the images, not their sum (reduction: mean)")
        return kind
    if mixed:
        reason = describe_error(errors[0])
        raise ValueError(f"augmentation.mixup and cutmix make labels probabilities, which it does not take ({reason})")
    raise errors[0]


def _check_value(value: Any, logits: Tensor) -> None:
    """Raise a ValueError if a loss cannot be minimized, or is not finite."""
    if not isinstance(value, Tensor):
        raise ValueError(f"the loss must return a tensor with one number, got {type(value).__name__}")
    if shape := tuple(value.shape):
        raise ValueError(f"the loss must return one number per batch, got the shape {shape} for {len(logits)} images")
    if not value.isfinite():
        raise ValueError(f"the loss is {value.item()} for random logits")
    gradient = torch.autograd.grad(value, logits, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None or not gradient.any():
        raise ValueError("the loss has no gradient with respect to the logits")
    if not gradient.isfinite().all():
        raise ValueError("the gradient of the loss is not finite for random logits")
