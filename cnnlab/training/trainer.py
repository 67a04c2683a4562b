"""Create Lightning's Trainer from the keys of conf/trainer/*.yaml."""

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from torch import nn

from cnnlab.training.duration import Duration
from cnnlab.training.precision import auto_precision, device_type
from cnnlab.training.profile import StepProfiler
from cnnlab.training.synced_norms import SyncedNorms

Compile = Literal["off", "default", "reduce-overhead", "max-autotune"]
# Other strategies would shard the weights or start processes in ways that nothing here supports.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
# Includes Lightning's short names. Weights in half precision would add up losses and averages wrongly.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
# Keys that are not passed on to Lightning as they are.
OWN_KEYS = ("tf32", "compile", "profile", "max_epochs", "max_steps", "enable_progress_bar")


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
) -> L.Trainer:
    """Return a Trainer that logs once per epoch and saves only through its callbacks.

    Args:
        options: arguments of `lightning.Trainer` (`precision` may also be `auto`, `max_epochs` a fraction), and `tf32`,
            `compile` and `profile`.
        callbacks: Lightning callbacks.
        loggers: where metrics go besides the run directory.
        directory: the run directory, for files that callbacks write.
        started_from_outside: whether torchrun or Slurm started the processes of a run on several devices. Then they say
            which process this is.

    Raises:
        ValueError: if a value is out of range, or a device does not exist.
    """
    _check_options(options)
    devices = training_devices(options)
    kind, compile_mode = devices[0].type, options.get("compile", "off")
    check_accumulation(compile_mode, options.get("accumulate_grad_batches") or 1, kind)
    arguments = {name: value for name, value in options.items() if name not in OWN_KEYS}
    if options.get("precision", "auto") == "auto":
        arguments["precision"] = auto_precision(kind)
    if options.get("deterministic"):
        arguments["benchmark"] = False  # cudnn would choose algorithms by their times, which vary
    if len(devices) * (options.get("num_nodes") or 1) == 1:
        arguments["strategy"] = "auto"  # a single process has no others to communicate with
    plugins: list[Any] = [] if started_from_outside else [LightningEnvironment()]
    if options.get("sync_batchnorm") and kind == "cpu":
        arguments["sync_batchnorm"] = False
        plugins.append(SyncedNorms())
    if torch.cuda.is_available():
        tf32 = options.get("tf32", True)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    _quieten_lightning()
    epochs = options["max_epochs"]
    profiler = StepProfiler(directory / "profile") if options.get("profile") else NoProfiler()
    try:
        trainer = L.Trainer(
            # Compiled code, above all CUDA graphs, cannot share tensors between training and inference mode.
            **{"profiler": profiler, "inference_mode": compile_mode == "off", **arguments},
            max_epochs=math.ceil(epochs),
            plugins=plugins,
            callbacks=[Duration(epochs, options.get("max_steps", -1)), *callbacks],
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


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise a ValueError that starts with the name of the first wrong option."""
    if not isinstance(profile := options.get("profile", False), bool):
        raise ValueError(f"profile must be true or false, got {profile!r}")
    epochs = options.get("max_epochs")
    if not isinstance(epochs, int | float) or isinstance(epochs, bool) or not 0 < epochs < math.inf:
        raise ValueError(f"max_epochs must be a number above 0, got {epochs!r}")
    if (steps := options.get("max_steps", -1)) < 1 and steps != -1:
        raise ValueError(f"max_steps must be 1 or more, or -1 for no limit, got {steps}")
    time = options.get("max_time")
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", time):
        raise ValueError(f"max_time must be days:hours:minutes:seconds, such as 00:00:05:00, got {time!r}")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if (value := options.get(name)) is not None and not (type(value) is int and value >= 1):
            raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
    for name in ("limit_train_batches", "limit_test_batches"):
        if options.get(name) == 0:
            raise ValueError(f"{name} must be above 0, got 0: without a batch there is nothing to record")
    for name in ("gradient_clip_val", "limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if isinstance(value := options.get(name), int | float) and value < 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
    if (strategy := options.get("strategy", "auto")) not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if str(precision := options.get("precision", "auto")) not in PRECISIONS:
        raise ValueError(f"precision must be auto, 32-true, bf16-mixed or 16-mixed, got {precision!r}")


def check_accumulation(mode: Compile, batches: int, kind: str) -> None:
    """Raise a ValueError if a compile mode cannot accumulate the gradients of several batches on this kind of device.

    With CUDA graphs, the next batch would overwrite the gradients.
    """
    if batches > 1 and kind == "cuda" and mode in ("reduce-overhead", "max-autotune"):
        raise ValueError(
            f"accumulate_grad_batches={batches} does not work with compile={mode}: its CUDA graphs overwrite"
            " gradients; use compile=default"
        )


def compile_network(network: nn.Module, mode: Compile) -> None:
    """Compile a network in place, so that its weights keep their names.

    Args:
        network: its `forward` is compiled at the first call.
        mode: of `torch.compile`; `off` does nothing.

    Raises:
        ValueError: for another mode.
    """
    if mode not in get_args(Compile):
        raise ValueError(f"compile must be one of {', '.join(get_args(Compile))}, got {mode!r}")
    if mode != "off":
        torch._dynamo.reset()  # networks that this process compiled earlier count against the limit below
        # Each shape is compiled by itself: a smaller last batch, other image sizes, evaluation and its views. Code for
        # all shapes would be slower, and beyond the limit nothing is compiled.
        torch._dynamo.config.recompile_limit = 32
        network.compile(mode=None if mode == "default" else mode, dynamic=False)


def training_devices(options: Mapping[str, Any]) -> list[torch.device]:
    """Return the devices of this machine that a Trainer with these options would use.

    Args:
        options: as for `build_trainer`.

    Raises:
        ValueError: if `devices` has an unknown form or names a missing GPU.
    """
    devices = options.get("devices", "auto")
    # Checked here, because Lightning raises a different kind of error for each wrong form.
    forms = r"\[\d+(, \d+)*\]" if isinstance(devices, list) else r"auto|-1|[1-9]\d*|\d+(,\d+)+"
    if not re.fullmatch(forms, str(devices)):
        raise ValueError(f"devices must be a number, a list such as [0, 2], or auto, got {devices!r}")
    kind = device_type(options.get("accelerator", "auto"))
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
