"""Watch the calls of a network's modules."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def watch_calls(
    network: nn.Module,
    on_end: Callable[[str, nn.Module, Any, Any], object],
    on_begin: Callable[[str, nn.Module], object] | None = None,
) -> Iterator[None]:
    """Call functions whenever a module is called inside the `with` block.

    The network itself is watched too. `on_end` gets the module's name (as in `named_modules`), the module, its inputs
    and its output; `on_begin` gets the name and the module.
    """
    with ExitStack() as stack:
        for name, module in network.named_modules():

            def end(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                on_end(name, module, inputs, output)

            stack.callback(module.register_forward_hook(end).remove)
            if on_begin:
                stack.callback(module.register_forward_pre_hook(lambda m, _, name=name: on_begin(name, m)).remove)
        yield
