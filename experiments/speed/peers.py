"""Compare training steps of cnnlab with two hand-written loops, on the same machine, images and networks.

    python experiments/speed/peers.py --path FOLDER

`FOLDER` holds CIFAR-10 (`data.path`). Every way trains in its own process, so that its peak memory is its own, and the
processes take turns. A turn is the steps of an epoch (fewer with `--steps`) without validation and saving; the first
turn of each way warms up and does not count. A ratio compares two turns of the same round.

tutorial-N  a loop as in tutorials: a transform for each PIL image (crop with padding 4, flip, normalize), torch's
            DataLoader with N workers, float32 in torch's default layout, SGD with momentum at a constant rate, and the
            loss read in every step. No Nesterov momentum, schedule, label smoothing, cutout, clipping or averaging.
by-hand     the fastest loop that we could write: images on the device, whole batches cropped, flipped, blanked and
            normalized at once, bf16 if it is faster (or --precision), channels_last; optimizer, schedule and averaging
            of the recipe `fast`; the faster layers with which cnnlab trains (cnnlab.build.run.use_faster_layers); no
            logging. With --compile through torch.compile. On Linux it keeps freed memory, as cnnlab does (cnnlab.cpu).
cnnlab      `cnnlab train` with the recipe `fast`: Lightning, the record, running loss and accuracy.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import lightning as L
import torch

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from peer_loops import SCHEDULED, work

from cnnlab import config as configuration
from cnnlab.config.paths import ROOT
from cnnlab.runs.environment import machine
from cnnlab.speed.turns import Contestant, take_turns
from cnnlab.training.precision import auto_precision

EPOCH = 45_000  # images: CIFAR-10's training images less those that the protocol holds out
WAYS = ("tutorial-2", "tutorial-0", "by-hand", "cnnlab")
RATIOS = (("cnnlab", "tutorial-2"), ("cnnlab", "tutorial-0"), ("cnnlab", "by-hand"))


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    if arguments.rounds + 1 > SCHEDULED:
        raise SystemExit(f"--rounds must be less than {SCHEDULED}, the epochs of the schedule")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = machine(torch.device(device))
    if arguments.precision == "auto":
        arguments.precision = auto_precision(device)
    print(f"{about['device']}; torch {torch.__version__}; lightning {L.__version__}; {arguments.precision}; ", end="")
    print(f"rounds: {arguments.rounds}\n")
    results = []
    for model in arguments.models:
        settings = run_settings(model, arguments, device)
        tasks = [
            {"way": way, "settings": settings, "steps": arguments.steps, "device": device} for way in arguments.ways
        ]
        contestants = [Contestant(work, task) for task in tasks]
        reports = take_turns(contestants, arguments.rounds + 1, show=lambda text: None)
        result = summarize(model, arguments.ways, reports)
        result["errors"] = {way: c.error for way, c in zip(arguments.ways, contestants, strict=True) if c.error}
        print_tables(result)
        results.append(result)
    if arguments.output:
        record = {"machine": about, "arguments": {**vars(arguments), "output": None}, "results": results}
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")
    if any(result["errors"] for result in results):
        raise SystemExit(1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder or file with CIFAR-10 (data.path)")
    parser.add_argument("--models", nargs="+", default=["lenet5", "resnet20", "article"], help="names in conf/model")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3, help="number of turns of each way that count")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, help="steps in a turn; by default those of an epoch")
    parser.add_argument(
        "--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto", help="precision of by-hand and cnnlab"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network of by-hand and cnnlab")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def run_settings(model: str, arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Compose the settings of `cnnlab train` for the same training."""
    overrides = [
        f"model={model}",
        "recipe=fast",
        "logger=none",
        f"data.path={Path(arguments.path).absolute()}",
        f"data.batch_size={arguments.batch_size}",
        f"trainer.accelerator={device}",
        f"trainer.precision={arguments.precision}",
        f"trainer.max_epochs={SCHEDULED}",
        f"trainer.limit_train_batches={arguments.steps or 1.0}",
        "trainer.limit_val_batches=0",
        f"trainer.compile={'default' if arguments.compile else 'off'}",
    ]
    configuration.register_configs(Path.cwd())
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return configuration.settings(hydra.compose("train", overrides=overrides))


def summarize(model: str, ways: list[str], reports: list[list[Any]]) -> dict[str, Any]:
    """Compute medians over the rounds and ratios within them, without the first two reports (start and warm-up)."""
    speeds = {
        way: [turn["images"] / turn["seconds"] for turn in given[2:]]
        for way, given in zip(ways, reports, strict=True)
        if len(given) > 2
    }
    rows = {
        way: {
            "rounds": speeds[way],
            "images_per_second": median(speeds[way]),
            "epoch_seconds": EPOCH / median(speeds[way]),
            "images": given[-1]["images"],
            "peak_memory_bytes": given[-1]["peak_memory_bytes"],
        }
        for way, given in zip(ways, reports, strict=True)
        if way in speeds
    }
    ratios = {
        f"{one} / {other}": [a / b for a, b in zip(speeds[one], speeds[other], strict=False)]
        for one, other in RATIOS
        if one in speeds and other in speeds
    }
    return {"model": model, "ways": rows, "ratios": ratios}


def print_tables(result: dict[str, Any]) -> None:
    """Print tables in Markdown."""
    print(f"### {result['model']}\n")
    print("| way | images/s | smallest, largest | seconds for 45,000 images | images per turn | peak memory, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, row in result["ways"].items():
        spread = f"{min(row['rounds']):,.0f}, {max(row['rounds']):,.0f}"
        print(
            f"| {way} | {row['images_per_second']:,.0f} | {spread} | {row['epoch_seconds']:,.1f} | {row['images']:,} |"
            f" {row['peak_memory_bytes'] / 1e6:,.0f} |"
        )
    for way, error in result["errors"].items():
        print(f"| {way} | {error} |")
    print("\n| ratio of images/s | median | smallest, largest | pairs |\n|---|---:|---:|---:|")
    for name, ratios in result["ratios"].items():
        print(f"| {name} | {median(ratios):.3f} | {min(ratios):.3f}, {max(ratios):.3f} | {len(ratios)} |")
    print("\nMemory: of the GPU, or else of the process without the workers of a DataLoader.\n", flush=True)


if __name__ == "__main__":
    main()
