"""Create Lightning's Trainer from the keys of conf/trainer/*.yaml."""

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler

from cnnlab.errors import RequestError
from cnnlab.training.budget import Budget
from cnnlab.training.compiled import check_compile
from cnnlab.training.duration import Duration
from cnnlab.training.half_weights import HalfWeights
from cnnlab.training.options import check_devices
from cnnlab.training.precision import auto_precision, device_type
from cnnlab.training.profile import StepProfiler
from cnnlab.training.synced_norms import SyncedNorms

# Keys that are not passed on to Lightning as they are.
OWN_KEYS = ("tf32", "compile", "compile_step", "profile", "max_epochs", "max_steps", "enable_progress_bar")


class NoProfiler(PassThroughProfiler):
    """Do nothing, as Lightning's own class, but without creating a context for each of 40 calls per step."""

    _no_context = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # pyright: ignore
        """Return a context that does nothing."""
        return self._no_context


def build_trainer(
    options: Mapping[str, Any],
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    directory: Path,
    started_from_outside: bool = False,
    budget: float | list[list[int]] | None = None,
) -> L.Trainer:
    """Return a Trainer that logs once per epoch and saves only through its callbacks.

    Args:
        options: arguments of `lightning.Trainer` (`precision` may also be `auto`, `max_epochs` a fraction), and `tf32`,
            `compile`, `compile_step` and `profile`.
        callbacks, loggers: Lightning's, beside those that are always there.
        directory: the run directory, for files that callbacks write.
        started_from_outside: whether torchrun or Slurm started the processes of a run on several devices. Then they say
            which process this is.
        budget: what ends the training instead of `max_epochs` and `max_steps`, see `cnnlab.training.budget.Budget`.

    Raises:
        ValueError: if a value is out of range, or a device does not exist.
    """
    devices = training_devices(options)
    kind, compile_mode = devices[0].type, options.get("compile", "off")
    check_compile(options, kind, len(devices) * (options.get("num_nodes") or 1))
    arguments = {name: value for name, value in options.items() if name not in OWN_KEYS}
    plugins: list[Any] = [] if started_from_outside else [LightningEnvironment()]
    if options.get("precision", "auto") == "auto":
        arguments["precision"] = auto_precision(*map(str, devices))
    if options.get("precision") == "bf16-true":
        arguments["precision"] = None
        plugins.append(HalfWeights(kind))
    if options.get("deterministic"):
        arguments["benchmark"] = False  # cudnn would choose algorithms by their times, which vary
    if len(devices) * (options.get("num_nodes") or 1) == 1:
        arguments["strategy"] = "auto"  # a single process has no others to communicate with
    if options.get("sync_batchnorm") and kind == "cpu":
        arguments["sync_batchnorm"] = False
        plugins.append(SyncedNorms())
    if torch.cuda.is_available():
        tf32 = options.get("tf32", True)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    _quieten_lightning()
    duration = Duration(options["max_epochs"], options.get("max_steps", -1)) if budget is None else Budget(budget)
    profiler = StepProfiler(directory / "profile") if options.get("profile") else NoProfiler()
    try:
        trainer = L.Trainer(
            # Compiled code, above all CUDA graphs, cannot share tensors between training and inference mode.
            **{"profiler": profiler, "inference_mode": compile_mode == "off", **arguments},
            max_epochs=-1 if math.isinf(duration.epochs) else math.ceil(duration.epochs),
            plugins=plugins,
            callbacks=[duration, *callbacks],
            logger=list(loggers),
            default_root_dir=directory,
            enable_model_summary=False,
            enable_progress_bar=False,  # replaced by the callback Progress
        )
    except (MisconfigurationException, RuntimeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    # On SIGTERM, Lightning starts a collective operation at once, while processes may be in different operations of the
    # training. interruption.py handles signals instead.
    trainer._signal_connector.register_signal_handlers = lambda: None
    # Lightning would also ask all processes before every step whether SIGTERM came: the host would wait for the device.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    return trainer


@contextlib.contextmanager
def refused_by_lightning(trainer: L.Trainer) -> Iterator[None]:
    """Turn Lightning's complaint about a combination of options into a RequestError, unless a step was done before."""
    try:
        yield
    except MisconfigurationException as error:
        if trainer.global_step:
            raise
        raise RequestError(f"trainer: {' '.join(str(error).split())}") from error


def training_devices(options: Mapping[str, Any]) -> list[torch.device]:
    """Return the devices of this machine that a Trainer with these options would use, if they can do what is asked.

    Raises:
        ValueError: if `devices` has an unknown form, or a device is missing or cannot compute in that precision.
    """
    devices = options.get("devices", "auto")
    check_devices(devices)
    accelerator, precision = options.get("accelerator", "auto"), str(options.get("precision", "auto"))
    kind = device_type(accelerator)
    if kind == "cpu" and accelerator not in ("auto", "cpu"):
        raise ValueError(f"accelerator={accelerator}: torch finds no such device; accelerator=cpu works anywhere")
    if kind == "cpu" and precision in ("16", "16-mixed"):
        raise ValueError(f"precision={precision} needs a GPU; the CPU computes in 32-true or bf16-mixed")
    available = torch.cuda.device_count() if kind == "cuda" else 1
    if devices in ("auto", "-1", -1):
        numbers = list(range(available))
    elif isinstance(devices, list) or "," in str(devices):
        numbers = [int(number) for number in re.findall(r"\d+", str(devices))]
    else:
        numbers = list(range(int(devices)))
    if kind != "cuda":
        return [torch.device(kind)] * len(numbers)
    if max(numbers) >= available:
        raise ValueError(f"devices must be among the {available} GPU(s) of this machine, got {devices!r}")
    return [torch.device(kind, number) for number in numbers]


def _quieten_lightning() -> None:
    """Silence Lightning's warnings about deliberate choices of this project; keep those that concern the user."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # with Lightning's own handler, every line would appear twice
        logger.setLevel(logging.WARNING)
    for message in (
        "The number of training batches",  # nothing is logged by step
        "GPU available but not used",
        "MPS available but not used",
        "Checkpoint directory",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # between Lightning and torch
        "You're resuming from a checkpoint that ended before the epoch ended",  # the loader resumes exactly
        "It is recommended to use `self.log",  # the metrics are already summed over processes
    ):
        warnings.filterwarnings("ignore", message=message)
