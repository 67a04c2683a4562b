"""Compare the speed of `cnnlab predict` on JPEG files with hand-written loops of torch and Pillow.

    python experiments/speed/predict.py --path FOLDER

`FOLDER` holds CIFAR-10 (`data.path`). Its first images are written as JPEG files to a temporary folder, enlarged with
--side. The network is not trained, which does not change its speed. Each way runs in its own process, so that its peak
memory is its own, and the processes take turns. A turn goes from the folder to a CSV file with the three best classes
of every image. The first turn of each way warms up and does not count. A ratio compares two turns of the same round.

predict     the whole command: compose the configuration, load the checkpoint, find and read the files, run the network,
            write the file; without the gallery
loop        one file after the other: opened by Pillow; resized, cropped and made a normalized tensor by torchvision;
            stacked to a batch for the network in the same precision
loader-N    the same transform in torch's DataLoader with N workers
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import argparse
import contextlib
import csv
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from cnnlab import predict
from cnnlab.build.network import build_network
from cnnlab.inference.trained import TrainedNetwork, load
from cnnlab.runs.environment import machine, peak_memory_bytes
from cnnlab.speed.turns import Contestant, Report, take_turns

if TYPE_CHECKING:
    from cnnlab.data.datamodule import ImageDataModule

CONF = Path(__file__).parents[2] / "conf"
WAYS = ("predict", "loop", "loader-2")
TOP = 3


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    about = machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(f"{about['device']}; {os.cpu_count()} cores; torch {torch.__version__}; rounds: {arguments.rounds}")
    with tempfile.TemporaryDirectory() as name:
        # In a new process too: on Linux a process starts with the peak memory of its parent.
        take_turns([Contestant(prepare, {**vars(arguments), "folder": name})], 0, show=lambda text: None)
        task = {"folder": name, "batch_size": arguments.batch_size, "precision": arguments.precision}
        contestants = [Contestant(work, {**task, "way": way}) for way in arguments.ways]
        reports = take_turns(contestants, arguments.rounds + 1, show=lambda text: None)
    for way, contestant in zip(arguments.ways, contestants, strict=True):
        if contestant.error:
            raise SystemExit(f"{way}: {contestant.error}")
    print(f"{arguments.files:,} JPEG files of {arguments.side} x {arguments.side} pixels, {arguments.model}\n")
    print_tables(arguments.ways, [turns[2:] for turns in reports], arguments.files)  # ready, and the warm-up


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder or file with CIFAR-10 (data.path)")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=32, help="height and width of the JPEG files in pixels")
    parser.add_argument("--model", default="lenet5", help="a name in conf/model")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each way that count")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    return parser.parse_args()


def prepare(task: dict[str, Any], report: Report) -> None:
    """Write the files to classify and the checkpoint."""
    from cnnlab.data.datamodule import ImageDataModule  # with Lightning, whose memory the other processes do not need

    data = ImageDataModule(path=task["path"], protocol="article")
    write_files(data, Path(task["folder"]) / "photos", task["files"], task["side"])
    save_checkpoint(data, Path(task["folder"]) / "untrained.ckpt", task["model"])
    report("ready")


def write_files(data: "ImageDataModule", folder: Path, files: int, side: int) -> None:
    """Write the first training images, repeated if there are too few, as JPEG files."""
    folder.mkdir()
    for number in range(files):
        pixels = data.train.read(torch.tensor([number % len(data.train)]))[0].numpy()
        picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:06}.jpg", quality=90)


def save_checkpoint(data: "ImageDataModule", file: Path, name: str) -> None:
    """Write a checkpoint as training would before its first step."""
    model = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    torch.manual_seed(0)
    network = build_network(model, len(data.classes), data.image_size)
    about = {
        "model": model,
        "classes": list(data.classes),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "image_size": data.image_size,
        "channels": 3,
        "data_fingerprint": data.fingerprint,
    }
    weights = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "cnnlab": about}, file)


def work(task: dict[str, Any], report: Report) -> None:
    """Take one turn after the other."""
    run: Callable[[dict[str, Any]], None] = run_predict if task["way"] == "predict" else run_by_hand
    going_on = report("ready")
    while going_on:
        started = time.perf_counter()
        run(task)
        seconds = time.perf_counter() - started
        going_on = report({"seconds": seconds, "peak_memory_bytes": peak_memory_bytes(torch.device("cpu"))})


def run_predict(task: dict[str, Any]) -> None:
    """Run `cnnlab predict`."""
    folder = Path(task["folder"])
    sys.argv = ["predict", f"checkpoint={folder / 'untrained.ckpt'}", f"images={folder / 'photos'}", f"top={TOP}"]
    sys.argv += [f"output={folder / 'predict.csv'}", "gallery=null", f"precision={task['precision']}"]
    sys.argv += [f"batch_size={task['batch_size']}"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            predict.main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(said.getvalue()) from None


def run_by_hand(task: dict[str, Any]) -> None:
    """Run one of the hand-written loops."""
    folder = Path(task["folder"])
    net = load(folder / "untrained.ckpt", precision=task["precision"])
    files = Photos(sorted((folder / "photos").rglob("*.jpg")), net)
    if task["way"] == "loop":
        batches = stacked(files, task["batch_size"])
    else:
        workers = int(task["way"].removeprefix("loader-"))
        batches = iter(DataLoader(files, task["batch_size"], num_workers=workers))
    with (folder / f"{task['way']}.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        number = 0
        for batch in batches:
            with net.computing():
                logits = net.network(batch.to(net.device)).float().cpu()
            values, classes = logits.softmax(dim=1).topk(TOP, dim=1)
            for confidences, best in zip(values.tolist(), classes.tolist(), strict=True):
                pairs = zip(best, confidences, strict=True)
                rows.writerow(
                    [files.paths[number], *(cell for one, share in pairs for cell in (net.classes[one], share))]
                )
                number += 1


class Photos(Dataset[Tensor]):
    """Image files as normalized tensors (3, H, W)."""

    def __init__(self, paths: list[Path], net: TrainedNetwork):
        self.paths = paths
        self.transform: Callable[[Any], Any] = transforms.Compose(
            [
                transforms.Resize(net.image_size),
                transforms.CenterCrop(net.image_size),
                transforms.ToTensor(),
                transforms.Normalize(net.mean.tolist(), net.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        with Image.open(self.paths[number]) as picture:
            return self.transform(picture.convert("RGB"))


def stacked(files: Photos, batch_size: int) -> Iterator[Tensor]:
    """Yield batches in order."""
    for start in range(0, len(files), batch_size):
        yield torch.stack([files[number] for number in range(start, min(start + batch_size, len(files)))])


def print_tables(ways: list[str], turns: list[list[dict[str, Any]]], files: int) -> None:
    """Print tables in Markdown; ratios are of images/s."""
    print("| way | images/s | smallest, largest | peak memory, MB |\n|---|---:|---:|---:|")
    for way, rounds in zip(ways, turns, strict=True):
        speeds = [files / one["seconds"] for one in rounds]
        peak = max(one["peak_memory_bytes"] for one in rounds) / 1e6
        print(f"| {way} | {median(speeds):,.0f} | {min(speeds):,.0f}, {max(speeds):,.0f} | {peak:,.0f} |")
    print("\n| ratio | median | smallest, largest |\n|---|---:|---:|")
    for way, rounds in zip(ways[1:], turns[1:], strict=True):
        pairs = zip(turns[0], rounds, strict=True)
        ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]
        print(f"| {ways[0]} / {way} | {median(ratios):.2f} | {min(ratios):.2f}, {max(ratios):.2f} |")
    print("\nMemory: of the process without the workers of a DataLoader.")


if __name__ == "__main__":
    main()
