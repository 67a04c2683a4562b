"""Train on a GPU that does not exist: torch's fake tensors know their device and shape, and have no values.

Reading a value on the host, choosing rows by a mask, mixing devices and copying from the host within a step are errors:
on a GPU, the host would wait. The gradients are made up, as autograd asks the driver.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loops import evaluation_loop, fit_loop
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.data.augment import Augmentation
from cnnlab.data.images import Images
from cnnlab.data.loader import EpochOrder, Loader
from cnnlab.training.classifier import Classifier

DEVICE = torch.device("cuda", 0)
GETITEM, SETITEM = Tensor.__getitem__, Tensor.__setitem__


class Waited(Exception):
    """Report that the host would have waited for the GPU within a step."""


class NoCopies(TorchDispatchMode):
    """Refuse copies between host and device while `within_step`."""

    def __init__(self) -> None:
        super().__init__()
        self.within_step = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.within_step and func._schema.name in ("aten::_to_copy", "aten::copy_"):
            first = args[0].device.type
            other = args[1].device.type if func._schema.name == "aten::copy_" else kwargs.get("device", first)
            if torch.device(other).type != first:
                raise Waited(f"a copy from {other} to {first}, or back, within a step")
        return func(*args, **kwargs)


class OnFakeGpu(SingleDeviceStrategy):
    """Skip what Lightning does before and after a training: it needs the driver."""

    def __init__(self) -> None:
        super().__init__(DEVICE, CPUAccelerator())

    def setup_environment(self) -> None:
        pass

    def teardown(self) -> None:
        pass


class Watch(L.Callback):
    """Say when a step of training or validation begins, and when it ends."""

    def __init__(self, mode: NoCopies):
        self.mode = mode

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.mode.within_step = True

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.mode.within_step = False

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.mode.within_step = True

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.mode.within_step = False


def make_fake(mode: FakeTensorMode, value: Any) -> Any:
    """Return fake tensors on the CPU for the real ones in a value."""
    if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
        with unset_fake_temporarily():
            value = value.detach()
        return mode.from_tensor(value)
    if isinstance(value, dict):
        return {key: make_fake(mode, part) for key, part in value.items()}
    return value


def really(mode: FakeTensorMode, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that draws real numbers on the CPU, and gives fake tensors."""

    def call(*arguments: Any, **named: Any) -> Any:
        with unset_fake_temporarily():
            result = function(*arguments, **named)
        return make_fake(mode, result)

    return call


@contextlib.contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Have torch believe in a GPU, inside a mode in which all tensors are fake."""
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    for name, value in {
        "is_available": True,
        "is_initialized": True,
        "current_device": 0,
        "device_count": 1,
        "get_device_capability": (9, 0),
        "is_bf16_supported": True,
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(fake_tensor, "init_gpu_context", lambda *_: None)
    for loop in (fit_loop, evaluation_loop):
        monkeypatch.setattr(loop, "has_len_all_ranks", lambda *_, **__: True)
    # What these do in C++ asks the driver.
    tensor = torch.tensor

    def made(*arguments: Any, device: Any = None, **named: Any) -> Tensor:
        if device is None or torch.device(device).type != "cuda":
            return tensor(*arguments, device=device, **named)
        with unset_fake_temporarily():
            result = tensor(*arguments, **named)
        return mode.from_tensor(result).to(DEVICE)

    monkeypatch.setattr(torch, "tensor", made)
    monkeypatch.setattr(Tensor, "__getitem__", chosen)
    monkeypatch.setattr(Tensor, "__setitem__", set_chosen)
    monkeypatch.setattr(Tensor, "copy_", copied)
    monkeypatch.setattr(
        Tensor, "__deepcopy__", lambda self, _: torch.empty_like(self) if isinstance(self, FakeTensor) else self
    )
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", copied_parameter)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(L.LightningModule, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(torch, "_fused_sgd_", fused)
    # The draws of an epoch are real, on the CPU; between epochs the host may read totals.
    monkeypatch.setattr(Augmentation, "draw", really(mode, Augmentation.draw))
    monkeypatch.setattr(EpochOrder, "positions", really(mode, EpochOrder.positions))
    monkeypatch.setattr(Classifier, "log_epoch", lambda _: None)
    monkeypatch.setattr(Classifier, "_log_means", lambda *_: {})
    monkeypatch.setattr(Classifier, "_log_balanced", lambda *_: {})
    monkeypatch.setattr(Classifier, "training_step", torch.no_grad()(Classifier.training_step))
    monkeypatch.setattr(Classifier, "backward", made_up_gradients)
    with mode:
        yield mode


def fused(*lists: Any, **_: Any) -> None:
    """Check that everything that a fused optimizer takes is on the GPU."""
    for tensors in lists:
        for value in tensors if isinstance(tensors, list | tuple) else []:
            if isinstance(value, Tensor) and value.device != DEVICE:
                raise Waited(f"a fused optimizer with a tensor on the {value.device.type}")


def made_up_gradients(module: nn.Module, *_: Any, **__: Any) -> None:
    """Give every weight a gradient."""
    for weight in module.parameters():
        if weight.requires_grad:
            weight.grad = torch.empty_like(weight)


def copied_parameter(weight: nn.Parameter, memo: dict[int, Any]) -> nn.Parameter:
    """Return a copy of a weight."""
    return memo.setdefault(id(weight), nn.Parameter(torch.empty_like(weight, requires_grad=False)))


def chosen(values: Tensor, index: Any) -> Tensor:
    """Do what `values[index]` does."""
    if values.device.type != "cuda":
        return GETITEM(values, index)
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in [part for part in index if not isinstance(part, Tensor)]:
        place = next(n for n, part in enumerate(index) if part is Ellipsis)
        given = sum(part is not None for part in index) - 1
        index = (*index[:place], *[slice(None)] * (values.ndim - given), *index[place + 1 :])
    result, dimension, rows = values, 0, []
    for part in index:
        if part is None:
            result = result.unsqueeze(dimension)
        elif isinstance(part, slice):
            if part != slice(None):
                result = torch.ops.aten.slice.Tensor(result, dimension, part.start, part.stop, part.step or 1)
        elif isinstance(part, int):
            result = result.select(dimension, part)
            continue
        elif part.dtype == torch.bool:
            raise Waited("rows chosen by a mask: how many they are is known on the GPU only")
        elif part.device != values.device:
            raise Waited(f"rows on the {part.device.type} of values on {values.device}")
        rows.append(part if isinstance(part, Tensor) else None)
        dimension += 1
    return torch.ops.aten.index.Tensor(result, rows) if any(part is not None for part in rows) else result


def copied(values: Tensor, new: Tensor, non_blocking: bool = False) -> Tensor:
    """Do what `values.copy_(new)` does."""
    new = new.to(values.device, values.dtype)  # a copy that NoCopies sees
    return values.logical_and_(new) if values.dtype == torch.bool else values.mul_(0).add_(new)


def set_chosen(values: Tensor, index: Any, new: Any) -> None:
    """Do what `values[index] = new` does, for an index without tensors."""
    if values.device.type != "cuda":
        SETITEM(values, index, new)
    elif isinstance(new, Tensor):
        chosen(values, index).copy_(new)
    else:
        chosen(values, index).fill_(new)


def to_fake_gpu(mode: FakeTensorMode, module: nn.Module) -> None:
    """Move the weights of a module to the GPU that does not exist."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                there = make_fake(mode, weight).to(DEVICE)
                part._parameters[name] = nn.Parameter(there, requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = make_fake(mode, buffer).to(DEVICE)


def loader(images: int, batch_size: int, **options: Any) -> Loader:
    """Return a loader of images on the GPU that does not exist."""
    made = Images.decoded(torch.zeros(images, 32, 32, 3, dtype=torch.uint8), torch.arange(images) % 10)
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)
    return Loader(made, batch_size, mean, std, device=DEVICE, classes=10, **options)


def fit_and_test(
    mode: FakeTensorMode,
    classifier: Classifier,
    augmentation: Augmentation,
    callbacks: list[Any],
    clip: float | None,
    precision: Precision,
) -> L.Trainer:
    """Train for two epochs of three steps, the last of them smaller, with validation, and test."""
    to_fake_gpu(mode, classifier)
    watched = NoCopies()
    trainer = L.Trainer(
        max_epochs=2,
        strategy=OnFakeGpu(),
        callbacks=[Watch(watched), *callbacks],
        plugins=[precision],
        gradient_clip_val=clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with watched:
        trainer.fit(classifier, loader(40, 16, augmentation=augmentation, shuffle=True), loader(20, 16))
        trainer.test(classifier, loader(20, 16), verbose=False)
    return trainer
