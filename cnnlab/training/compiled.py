"""Compile a network, or a whole training step, with torch.compile."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.training.options import Compile


def check_compile(options: Mapping[str, Any], kind: str, processes: int) -> None:
    """Raise a ValueError if the Trainer's options of compiling do not fit the others, or this kind of device.

    With CUDA graphs, the next batch would overwrite the gradients of those that are accumulated.
    """
    mode, batches = options.get("compile", "off"), options.get("accumulate_grad_batches") or 1
    if batches > 1 and kind == "cuda" and mode in ("reduce-overhead", "max-autotune"):
        problem = f"accumulate_grad_batches={batches} does not work with compile={mode}"
        raise ValueError(f"{problem}: its CUDA graphs overwrite gradients; use compile=default")
    if not options.get("compile_step"):
        return
    if mode == "off":
        raise ValueError("compile_step=true needs a mode, such as trainer.compile=default")
    others = {"accumulate_grad_batches": batches, "devices": processes}
    refused = [f"{key}={value}" for key, value in others.items() if value > 1]
    if str(options.get("precision")) in ("16", "16-mixed"):
        refused.append("precision=16-mixed")
    if refused:
        raise ValueError(f"compile_step=true does not work with {refused[0]}; compile_step=false does")


def compile_network(network: nn.Module, mode: Compile, sizes: Collection[int] = ()) -> None:
    """Compile a network in place at its first call, so that its weights keep their names; `off` does nothing.

    Args:
        network: maps images (N, C, H, W) to logits.
        mode: of `torch.compile`.
        sizes: numbers of images N for which it is compiled; none stands for all. Other batches, such as the last one of
            an epoch, are computed layer by layer: compiling takes longer than they do.
    """
    if mode == "off":
        return
    torch._dynamo.reset()  # networks that this process compiled earlier count against the limit below
    # Each shape is compiled by itself: training, evaluation, image sizes. Code for all shapes would be slower, and
    # beyond the limit nothing is compiled.
    torch._dynamo.config.recompile_limit = 32
    network.compile(mode=None if mode == "default" else mode, dynamic=False)
    compiled = network._compiled_call_impl
    assert compiled is not None

    def call(images: Tensor, *arguments: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():  # as a part of the step
            return network._call_impl(images, *arguments, **named)
        if not sizes or len(images) in sizes:
            try:
                return compiled(images, *arguments, **named)
            except RuntimeError as error:
                _check_compiler(error)
                raise
        with torch.compiler.set_stance("force_eager"):
            return compiled(images, *arguments, **named)

    network._compiled_call_impl = call


def _check_compiler(error: RuntimeError) -> None:
    """Raise a RequestError if an error says that a compiler is missing."""
    if re.search("InvalidCxxCompiler|No working C\\+\\+ compiler", str(error)):
        raise RequestError("trainer.compile: no C++ compiler, such as g++, is installed; trainer.compile=off") from None


class CompiledStep:
    """Compute logits, loss and gradients of a batch in one compiled call, so that Python does little in a step.

    Args:
        network: its weights get the gradients.
        logits_and_loss: maps images and labels to both.
        mode: of `torch.compile`.
        size: number of images for which it is compiled.
    """

    def __init__(
        self,
        network: nn.Module,
        logits_and_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        mode: Compile,
        size: int,
    ):
        self.size = size
        self._network, self._gradients = network, None

        def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
            logits, loss = logits_and_loss(images, labels)
            return logits.detach(), loss.detach(), torch.autograd.grad(loss, self._learning())

        if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
            raise RequestError(f"trainer.compile_step needs a newer torch than {torch.__version__}")
        torch._dynamo.config.trace_autograd_ops = True
        self._step = torch.compile(step, mode=None if mode == "default" else mode, fullgraph=True, dynamic=False)

    def _learning(self) -> list[nn.Parameter]:
        return [weight for weight in self._network.parameters() if weight.requires_grad]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, classes) and loss, and keep the gradients.

        Raises:
            RequestError: if the step cannot be compiled as a whole.
        """
        try:
            logits, loss, self._gradients = self._step(images, labels)
        except RuntimeError as error:
            _check_compiler(error)
            if type(error).__name__ == "Unsupported":
                raise RequestError(f"trainer.compile_step: {first_line(error)}; trainer.compile_step=false") from None
            raise
        return logits, loss

    def give_gradients(self) -> bool:
        """Give the weights the gradients of the last call; return False if there was none since the last time."""
        if self._gradients is None:
            return False
        for weight, gradient in zip(self._learning(), self._gradients, strict=True):
            weight.grad = gradient
        self._gradients = None
        return True
