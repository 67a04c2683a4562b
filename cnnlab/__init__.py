"""cnnlab: train and compare convolutional networks on CIFAR-10 and on images of your own."""

import sys
from typing import TYPE_CHECKING, Any

if sys.argv[:1] == ["-m"]:
    # `python -m cnnlab` looks in the working directory first, which may be a stranger's run with a safetensors.py.
    sys.path.append(sys.path.pop(0))

if TYPE_CHECKING:
    from cnnlab.inference.trained import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `load` on first use: torch takes seconds to import, and commands start without it."""
    if name == "load":
        from cnnlab.inference.trained import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
