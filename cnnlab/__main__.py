"""Run `cnnlab <command>`, which is the same as `python -m cnnlab.<command>`."""

import importlib
import sys
from importlib.metadata import version

from cnnlab import __version__, streams, waiting
from cnnlab.errors import Interrupted
from cnnlab.signals import handled, interrupt
from cnnlab.words import did_you_mean

COMMANDS = {
    "audit": "find what is wrong with images and labels",
    "train": "train a network, or a sweep of networks",
    "doctor": "say why a network does not learn",
    "tune": "search hyperparameters",
    "compare": "compare runs: accuracy, cost, significance",
    "dashboard": "open TensorBoard on runs",
    "evaluate": "measure how good a trained network is",
    "predict": "classify images with a trained network",
    "visualize": "show what a network does with an image",
    "describe": "list a network's layers, costs, receptive fields",
    "export": "write a network as ONNX, torch.export or safetensors",
    "benchmark": "measure speed and memory",
}


OVERVIEW = """Trains and compares convolutional networks for image classification.

  cnnlab <command> [key=value ...]

Commands
{commands}

cnnlab <command> --help explains the keys of a command.
cnnlab --version prints the versions of cnnlab and torch.
To start without a download: cnnlab train data=digits model=lenet5"""


def main() -> None:
    """Import and run the command that is named first on the command line, and only that one."""
    streams.prepare()
    streams.use_utf8()
    name, code = sys.argv[1] if len(sys.argv) > 1 else "--help", 0
    if name in ("-h", "--help"):
        from cnnlab.display import wrapped

        commands = "\n".join(f"  {command:<12}{text}" for command, text in COMMANDS.items())
        print(wrapped(OVERVIEW.format(commands=commands), sys.stdout))
    elif "--version" in sys.argv[1:]:
        print(f"cnnlab {__version__}, torch {version('torch')}")  # to import torch would take seconds
    elif name in COMMANDS:
        waiting.tell(f"Starting {name}")
        del sys.argv[1]
        try:
            with handled(interrupt):
                importlib.import_module(f"cnnlab.{name}").main()
        except Interrupted as error:  # during the import
            print(error, file=sys.stderr)
            code = 130
    else:
        print(f"{name} is not a command{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        code = 2
    streams.leave(code)


if __name__ == "__main__":
    main()
