"""Compare training steps of networks as written with those of the same networks with cnnlab's faster layers.

    python experiments/speed/cheaper.py --models article vgg11 resnet18

as written    the layers in their order, each as torch computes it
pool first    max pooling before the activation (cnnlab.training.pool_first)
all           as cnnlab trains on this processor (cnnlab.build.run.use_faster_layers): if it has matrix tiles, small
              images are also laid side by side for a convolution (cnnlab.training.side_by_side)

A step is the forward and backward pass of one batch of noise on the CPU, without an optimizer. The variants take turns
step by step in one process; a ratio compares two consecutive steps.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from cnnlab.build.network import build_network
from cnnlab.build.run import use_faster_layers
from cnnlab.config.paths import ROOT
from cnnlab.cpu import keep_freed_memory
from cnnlab.runs.environment import device_name
from cnnlab.training.pool_first import pool_first
from cnnlab.training.precision import auto_precision

WAYS: dict[str, Callable[[nn.Module], None]] = {
    "as written": lambda network: None,
    "pool first": pool_first,
    "all": use_faster_layers,
}


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    keep_freed_memory()
    precision = auto_precision("cpu") if arguments.precision == "auto" else arguments.precision
    print(f"{device_name(torch.device('cpu'))}; torch {torch.__version__}; {precision}; batch {arguments.batch_size}\n")
    print("| network | way | images/s | ratio to as written | quartiles | steps |")
    print("|---|---|---:|---:|---:|---:|")
    steps = arguments.steps
    for model in arguments.models:
        seconds = measure(model, arguments.batch_size, steps, precision == "bf16-mixed")
        for way, own in seconds.items():
            ratios = [written / taken for written, taken in zip(seconds["as written"], own, strict=True)]
            low, middle, high = quantiles(ratios, n=4)
            rate = arguments.batch_size / median(own)
            print(
                f"| {model} | {way} | {rate:,.0f} | {middle:.2f} | {low:.2f} to {high:.2f} | {len(own)} |", flush=True
            )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["article", "vgg11", "resnet18"], help="names in conf/model")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12, help="of each variant, at least 2; two more warm up")
    parser.add_argument("--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto")
    return parser.parse_args()


def measure(model: str, batch_size: int, steps: int, mixed: bool) -> dict[str, list[float]]:
    """Return the seconds of each step, by variant."""
    settings = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "model" / f"{model}.yaml"))
    assert isinstance(settings, dict)
    written = build_network({str(key): value for key, value in settings.items()}, classes=10).train()
    networks = {way: copy.deepcopy(written) for way in WAYS}
    for way, change in WAYS.items():
        change(networks[way])
    images = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2 + steps):
        for way, network in networks.items():
            seconds[way].append(step_seconds(network, images, labels, mixed))
    return {way: own[2:] for way, own in seconds.items()}


def step_seconds(network: nn.Module, images: Tensor, labels: Tensor, mixed: bool) -> float:
    """Return the seconds of one forward and backward pass."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed, cache_enabled=False):
        loss = nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    taken = time.perf_counter() - started
    network.zero_grad()
    return taken


if __name__ == "__main__":
    main()
