"""`cnnlab <command>`, the same as `python -m cnnlab.<command>`."""

import importlib
import sys

from cnnlab.instantiate import did_you_mean

COMMANDS = {
    "train": "train a network and leave a record; -m sweeps",
    "tune": "search hyperparameters: pruned trials, a study that resumes, the best as an experiment",
    "compare": "compare runs: accuracy, cost, and whether a difference is more than noise",
    "dashboard": "open TensorBoard on all runs: curves, settings, pictures, graphs",
    "evaluate": "say how good a trained network is: accuracy, confusions, calibration",
    "predict": "classify files, folders, or test images, and draw a gallery",
    "visualize": "look inside a trained network: filters, feature maps, activations, class activation maps",
    "describe": "list a network's layers with shapes, costs and receptive fields",
    "export": "write a trained network as ONNX, a torch.export program or safetensors",
    "benchmark": "measure images/s, step time, memory and start-up time",
}


def main() -> None:
    """Imports the command that is asked for, and only that one, and runs it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: cnnlab <command> [key=value ...]\n\nCommands (cnnlab <command> --help explains its keys):")
        print("\n".join(f"  {command:<12}{purpose}" for command, purpose in COMMANDS.items()))
        return
    if name not in COMMANDS:
        print(f"{name} is not a command{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    importlib.import_module(f"cnnlab.{name}").main()


if __name__ == "__main__":
    main()
