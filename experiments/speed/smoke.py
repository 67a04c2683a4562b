"""Try what a GPU may break, in one process: `python experiments/speed/smoke.py --path FOLDER`.

Trains short runs with the recipes, number formats and ways of compiling; forbids waiting within a step; resumes from
the GPU to the CPU and back; and compares logits of the GPU with those of the CPU. Each part prints one line when it
ends. The exit code is 1 if one failed. Without a GPU, everything that needs none runs on the CPU.
"""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for trainer.deterministic, before torch

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

import lightning as L
import torch

from cnnlab import load, train
from cnnlab.inference.scoring import run_network
from cnnlab.runs.directory import RunDirectory

MIXED = ("augmentation.mixup=0.2", "augmentation.cutmix=1.0", "augmentation.erasing=0.3")
STRICT = "+callbacks.strict={_target_: smoke.Strict}"
CASES: dict[str, tuple[str, ...]] = {
    "fast": ("model=article", "recipe=fast"),
    "speedrun": ("model=speednet", "recipe=speedrun"),
    "mixed": ("model=resnet18", "recipe=fast_resnet", *MIXED),
    "32-true": ("model=resnet20", "trainer.precision=32-true"),
    "bf16-true": ("model=resnet20", "trainer.precision=bf16-true"),
    "deterministic": ("model=resnet20", "trainer.deterministic=true"),
    "no waiting within a step": ("model=article", "recipe=fast", STRICT),
}
ON_GPU: dict[str, tuple[str, ...]] = {
    "16-mixed with clipping": ("model=resnet20", "trainer.precision=16-mixed", "trainer.gradient_clip_val=2"),
    "reduce-overhead": ("model=lenet5", "trainer.compile=reduce-overhead"),
    "compiled step": ("model=lenet5", "trainer.compile=default", "trainer.compile_step=true"),
}
TOLERANCE = 0.02  # of logits in float32, as a share of the largest: TensorFloat-32 keeps three digits


class Strict(L.Callback):
    """Make waiting for the GPU an error within every step but the first, in which libraries are loaded."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Forbid it."""
        if trainer.global_step and torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Allow it."""
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("default")


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder or file with CIFAR-10 (data.path)")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--fraction", type=float, default=0.085, help="of the training images: 7.5 batches")
    parser.add_argument("--only", nargs="+", help="names of the parts that run")
    arguments = parser.parse_args()
    gpu = torch.cuda.is_available()
    common = (f"data.path={Path(arguments.path).absolute()}", f"data.fraction={arguments.fraction}", "logger=none")
    common += (f"data.batch_size={arguments.batch_size}", "trainer.max_epochs=2", "trainer.enable_progress_bar=false")
    parts: dict[str, Callable[[Path], str]] = {
        name: lambda folder, options=options: trained(folder, *common, *options)
        for name, options in (CASES | (ON_GPU if gpu else {})).items()
    }
    parts["resume on the CPU and back"] = lambda folder: resumed(folder, *common)
    parts["logits of the GPU and the CPU"] = lambda folder: compared(folder, *common)
    failed = 0
    for name, part in parts.items():
        if arguments.only and name not in arguments.only:
            continue
        started, printed = time.perf_counter(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            try:
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                    said = part(Path(folder))
                outcome = "ok    "
            except Exception as error:
                failed += 1
                said, outcome = f"{type(error).__name__}: {error}\n{printed.getvalue()[-2000:]}", "FAILED"
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
        print(f"{outcome} {name:32}{time.perf_counter() - started:6.1f} s   {said}", flush=True)
    if failed:
        raise SystemExit(1)


def command(*arguments: str) -> None:
    """Run `cnnlab train` in this process, which it does not end, as its output is caught."""
    before, sys.argv = sys.argv, ["cnnlab.train", *arguments]
    try:
        train.main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"exit code {end.code} of cnnlab train {' '.join(arguments)}") from None
    finally:
        sys.argv = before


def trained(folder: Path, *arguments: str) -> str:
    """Train, and return the figures of the record."""
    command(f"hydra.run.dir={folder}/run", *arguments)
    return figures(folder / "run")


def figures(run: Path) -> str:
    """Return what the record of a run says."""
    record = json.loads((run / "summary.json").read_text())
    rate = record["images_per_second"] or 0
    text = f"{record['precision']}, {record['steps']} steps, {rate:,.0f} images/s, loss {record['test_loss']:.3f}"
    return f"{text}, first step {record['first_step_seconds'] or 0:.1f} s, {record['peak_memory_bytes'] / 1e9:.1f} GB"


def resumed(folder: Path, *arguments: str) -> str:
    """Train an epoch on the default device, one on the CPU, and one on the default device again."""
    run = f"hydra.run.dir={folder}/run"
    command(run, *arguments, "model=lenet5", "trainer.precision=32-true", "trainer.max_epochs=1")
    command(f"resume={folder}/run", "trainer.max_epochs=2", "trainer.accelerator=cpu")
    command(f"resume={folder}/run", "trainer.max_epochs=3", "trainer.accelerator=auto")
    return figures(folder / "run")


def compared(folder: Path, *arguments: str) -> str:
    """Train, and compare the logits of test images with those that the CPU computes."""
    command(f"hydra.run.dir={folder}/run", *arguments, "model=resnet20")
    from cnnlab.data.images import load_images
    from cnnlab.data.sources import find_source

    path = next(argument.partition("=")[2] for argument in arguments if argument.startswith("data.path="))
    images = load_images(find_source(None, path), 32, None).test
    images = images.take(torch.arange(min(1000, len(images))))
    logits = [
        run_network(load(RunDirectory(folder / "run").best_checkpoint, device, "32-true"), images, 500).logits
        for device in ("auto", "cpu")
    ]
    difference = float((logits[0] - logits[1]).abs().max() / logits[1].abs().max())
    if difference > TOLERANCE:
        raise RuntimeError(f"logits differ by up to {difference:.2%} of the largest")
    same = float((logits[0].argmax(1) == logits[1].argmax(1)).float().mean())
    return f"differ by up to {difference:.1e} of the largest; {same:.1%} of the classes are the same"


if __name__ == "__main__":
    main()
