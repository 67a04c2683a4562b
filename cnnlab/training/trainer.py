"""Makes Lightning's Trainer from the keys of conf/trainer/*.yaml."""

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
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from cnnlab.training.duration import Duration
from cnnlab.training.precision import auto_precision, device_type
from cnnlab.training.profile import StepProfiler
from cnnlab.training.synced_norms import SyncedNorms

Compile = Literal["off", "default", "reduce-overhead", "max-autotune"]
# Others would share the weights, or start the processes, in ways that nothing here is prepared for.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
# With Lightning's short names. Weights in half precision add up losses and averages wrongly.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")


class NoProfiler(PassThroughProfiler):
    """Does nothing, as Lightning's own does, but without a new context for each of the 40 times a step it is asked."""

    _nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # pyright: ignore
        """A context that does nothing."""
        return self._nothing


def build_trainer(
    options: Mapping[str, Any],
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    directory: Path,
    started_from_outside: bool = False,
) -> L.Trainer:
    """A Trainer that logs once an epoch and saves through its callbacks alone.

    Args:
        options: arguments of `lightning.Trainer` (`precision` may also be `auto`, `max_epochs` a fraction), and `tf32`,
            `compile` and `profile`.
        callbacks: what is done beside training.
        loggers: where figures go beside the run directory.
        directory: default place for what other callbacks write.
        started_from_outside: whether torchrun or Slurm have started the processes of a run on several devices, so that
            they, and not this program, know which process this is.

    Raises:
        ValueError: where a value is out of its range, or a device is asked for that is not there.
    """
    given, options = options, dict(options)
    tf32 = options.pop("tf32", True)
    compile_mode = options.pop("compile", "off")
    profile = options.pop("profile", False)
    if not isinstance(profile, bool):
        raise ValueError(f"profile must be true or false, got {profile!r}")
    options.pop("enable_progress_bar", None)
    epochs, steps = options.pop("max_epochs", None), options.pop("max_steps", -1)
    if not isinstance(epochs, int | float) or isinstance(epochs, bool) or not 0 < epochs < math.inf:
        raise ValueError(f"max_epochs must be a number above 0, got {epochs!r}")
    if steps < 1 and steps != -1:
        raise ValueError(f"max_steps must be 1 or more, or -1 for no limit, got {steps}")
    for name, least in (("accumulate_grad_batches", 1), ("check_val_every_n_epoch", 1)):
        if (value := options.get(name)) is not None and not (type(value) is int and value >= least):
            raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")
    for name in ("limit_train_batches", "limit_test_batches"):
        if options.get(name) == 0:
            raise ValueError(f"{name} must be above 0, got 0: without a batch there is nothing to record")
    if (strategy := options.get("strategy", "auto")) not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    accelerator = training_devices(options)[0].type
    check_accumulation(compile_mode, options.get("accumulate_grad_batches") or 1, accelerator)
    if str(options.get("precision", "auto")) not in PRECISIONS:
        raise ValueError(f"precision must be auto, 32-true, bf16-mixed or 16-mixed, got {options['precision']!r}")
    if options.get("deterministic"):
        options["benchmark"] = False  # cudnn would choose its algorithms by their times, which are never the same
    if options.get("precision", "auto") == "auto":
        options["precision"] = auto_precision(accelerator)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    plugins: list[Any] = [] if started_from_outside else [LightningEnvironment()]
    if options.get("sync_batchnorm") and accelerator == "cpu":
        options["sync_batchnorm"] = False
        plugins.append(SyncedNorms())
    _quieten_lightning()
    profiler = StepProfiler(directory / "profile") if profile else NoProfiler()
    try:
        trainer = L.Trainer(
            # Compiled code, and CUDA graphs above all, cannot share tensors between training and inference mode.
            **{"profiler": profiler, "inference_mode": compile_mode == "off", **options},
            max_epochs=math.ceil(epochs),
            plugins=plugins,
            callbacks=[Duration(epochs, steps), *callbacks],
            logger=list(loggers),
            default_root_dir=directory,
            enable_model_summary=False,
            enable_progress_bar=False,  # Progress is ours
        )
    except (MisconfigurationException, RuntimeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if isinstance(trainer.strategy, DDPStrategy) and trainer.num_devices * trainer.num_nodes == 1:
        return build_trainer({**given, "strategy": "auto"}, callbacks, loggers, directory)  # one process has no others
    # At SIGTERM Lightning starts a collective operation in the middle of those of the training, where the processes may
    # be at different ones: interruption.py handles signals instead.
    trainer._signal_connector.register_signal_handlers = lambda: None
    # Lightning would also ask all processes before every step whether SIGTERM came: the host would wait for the device.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    return trainer


def check_accumulation(mode: Compile, batches: int, kind: str) -> None:
    """Whether gradients of several batches can be added up where the network is compiled.

    Args:
        mode: of `compile_network`.
        batches: whose gradients are added up before a step.
        kind: of the device, such as `cuda`.

    Raises:
        ValueError: where CUDA graphs are replayed: the next batch's run writes over the gradients of this one.
    """
    if batches > 1 and kind == "cuda" and mode in ("reduce-overhead", "max-autotune"):
        raise ValueError(
            f"accumulate_grad_batches={batches} does not go with compile={mode}, whose CUDA graphs write over"
            " gradients; compile=default does"
        )


def compile_network(network: nn.Module, mode: Compile) -> None:
    """Compiles a network in place, so that its weights keep their names.

    Args:
        network: whose `forward` is compiled at its first call.
        mode: of `torch.compile`; `off` leaves the network alone.

    Raises:
        ValueError: for another mode.
    """
    if mode not in get_args(Compile):
        raise ValueError(f"compile must be one of {', '.join(get_args(Compile))}, got {mode!r}")
    if mode != "off":
        torch._dynamo.reset()  # what an earlier job of this process compiled counts against a limit
        # A last batch, a size of images, evaluation and its views are each compiled once, for their own shape. One
        # code for all shapes would be slower, and beyond the limit nothing is compiled.
        torch._dynamo.config.recompile_limit = 32
        network.compile(mode=None if mode == "default" else mode, dynamic=False)


def training_devices(options: Mapping[str, Any]) -> list[torch.device]:
    """The devices that the Trainer will use on this machine, known before there is one.

    Args:
        options: as for `build_trainer`.

    Raises:
        ValueError: where `devices` is of no known form, or names a GPU that is not there.
    """
    devices = options.get("devices", "auto")
    # Lightning has an error of another kind for each wrong form.
    forms = r"\[\d+(, \d+)*\]" if isinstance(devices, list) else r"auto|-1|[1-9]\d*|\d+(,\d+)+"
    if not re.fullmatch(forms, str(devices)):
        raise ValueError(f"devices must be a number, a list such as [0, 2], or auto, got {devices!r}")
    kind = device_type(options.get("accelerator", "auto"))
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if devices in ("auto", "-1", -1):
        numbers = list(range(there))
    elif isinstance(devices, list) or "," in str(devices):
        numbers = [int(number) for number in re.findall(r"\d+", str(devices))]
    else:
        numbers = list(range(int(devices)))
    if kind != "cuda":
        return [torch.device(kind)] * len(numbers)
    if max(numbers) >= there:
        raise ValueError(f"devices must be among the {there} GPU(s) of this machine, got {devices!r}")
    return [torch.device(kind, number) for number in numbers]


def _quieten_lightning() -> None:
    """Leaves its warnings about what concerns the user, and removes those about choices made here on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # it brings one of its own, and every line would stand twice
        logger.setLevel(logging.WARNING)
    for message in (
        "The number of training batches",  # nothing is logged by the step
        "GPU available but not used",
        "MPS available but not used",
        "Checkpoint directory",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # between Lightning and torch
        "You're resuming from a checkpoint that ended before the epoch ended",  # the loader resumes exactly
        "It is recommended to use `self.log",  # the figures are of all processes already
    ):
        warnings.filterwarnings("ignore", message=message)
