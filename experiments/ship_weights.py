"""Write the weights of a run as a network that comes with cnnlab: half precision, with its description.

    python experiments/ship_weights.py RUN NAME

writes `cnnlab/weights/NAME.safetensors`, and prints how many test images it classifies like the run. Describe it then
in `cnnlab/weights/README.md`.
"""

import sys
from dataclasses import fields
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # if cnnlab is not installed

import safetensors.torch

from cnnlab.data.splits import DataOptions, read_split
from cnnlab.files import write_atomically
from cnnlab.inference.export import describe_file
from cnnlab.inference.scoring import run_network
from cnnlab.inference.trained import load
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.plain import to_json
from cnnlab.runs.shipped import WEIGHTS


def main(run: str, name: str) -> None:
    """Write the file and compare it with the run."""
    net = load(run, "cpu", "32-true")
    metadata = describe_file(net, normalize=False, softmax=False)
    texts = {key: value if isinstance(value, str) else to_json(value, indent=None) for key, value in metadata.items()}
    state = net.network.state_dict()
    weights = {key: (value.half() if value.is_floating_point() else value).contiguous() for key, value in state.items()}
    WEIGHTS.mkdir(exist_ok=True)
    file = WEIGHTS / f"{name}.safetensors"
    write_atomically(file, safetensors.torch.save(weights, texts))
    shipped = load(file, "cpu", "32-true")
    config = RunDirectory(Path(run)).read_config() or {}
    data = {field.name: config["data"][field.name] for field in fields(DataOptions) if field.name in config["data"]}
    images, _ = read_split("test", "holdout", net.classes, net.image_size, data, config["seed"])
    answers = [run_network(one, images, 250).logits.argmax(dim=1) for one in (net, shipped)]
    accuracies = [float((answer == images.labels).float().mean()) for answer in answers]
    same = float((answers[0] == answers[1]).float().mean())
    print(f"{file}: {file.stat().st_size:,} bytes")
    print(f"accuracy {accuracies[1]:.2%}, of the run {accuracies[0]:.2%}; {same:.2%} of the answers are the same")


if __name__ == "__main__":
    main(*sys.argv[1:])
