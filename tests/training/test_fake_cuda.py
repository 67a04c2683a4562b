"""Whole trainings on a GPU that does not exist: within a step the host never waits for it, and nothing is on the CPU.

If there is a GPU, the same is checked on it.
"""

from typing import Any

import hydra
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch._subclasses.fake_tensor import DataDependentOutputException

from cnnlab import config as configuration
from cnnlab.build.network import build_network
from cnnlab.build.run import build_callbacks, build_classifier
from cnnlab.config.paths import ROOT
from cnnlab.data.placement import choose_placement
from cnnlab.data.sources import find_source
from cnnlab.instantiate import build
from cnnlab.runs.warm import as_before
from cnnlab.training.classifier import Classifier
from cnnlab.training.half_weights import HalfWeights
from cnnlab.training.precision import auto_precision
from cnnlab.training.trainer import training_devices
from tests.fake_cuda import Waited, fake_gpu, fit_and_test

pytestmark = pytest.mark.filterwarnings("ignore")

MIXED = ("recipe=fast", "augmentation.mixup=0.2", "augmentation.cutmix=1.0", "augmentation.erasing=0.3")
MIXED = (*MIXED, "augmentation.sizes=[[0,28],[1,32]]")
RECIPES = {
    "fast": ("model=resnet20", "recipe=fast"),
    "fast_resnet": ("model=resnet18", "model.width=0.125", "recipe=fast_resnet", "tta=flip"),
    "speedrun": ("model=speednet", "model.width=0.25", "recipe=speedrun"),
    "mixed": (
        "model=resnet20",
        "model.width=0.5",
        *MIXED,
        "augmentation.sizes=[[0,28],[1,32]]",
        "averaging.every_n_steps=1",
    ),
}


def composed(tmp_path, *overrides: str) -> dict[str, Any]:
    """Return the settings of `cnnlab train`."""
    configuration.register_configs(tmp_path)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return configuration.settings(hydra.compose("train", overrides=list(overrides)))


def run(monkeypatch, tmp_path, *overrides: str, precision: Precision | None = None, times: int = 1) -> int:
    """Train and test, perhaps several times in one warm process; return the number of steps."""
    settings = composed(tmp_path, *overrides)
    clip, steps = settings["trainer"]["gradient_clip_val"], 0
    for _ in range(times):
        classifier = build_classifier(settings, build_network(settings["model"], 10, 32), [4] * 10)
        augmentation, callbacks = build(settings["augmentation"], "augmentation"), build_callbacks(settings)
        with monkeypatch.context() as patch, fake_gpu(patch) as mode, as_before():
            plugin = precision or MixedPrecision("bf16-mixed", "cuda")
            steps += fit_and_test(mode, classifier, augmentation, callbacks, clip, plugin).global_step
    return steps


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_training_never_waits_within_a_step(monkeypatch, tmp_path, recipe):
    assert run(monkeypatch, tmp_path, *RECIPES[recipe]) == 6


@pytest.mark.parametrize("recipe", ["speedrun", "mixed"])
def test_weights_in_bfloat16_never_wait_within_a_step(monkeypatch, tmp_path, recipe):
    assert run(monkeypatch, tmp_path, *RECIPES[recipe], precision=HalfWeights("cuda")) == 6


def test_a_warm_process_never_waits_within_a_step(monkeypatch, tmp_path):
    assert run(monkeypatch, tmp_path, *RECIPES["speedrun"], times=3) == 18


def reads_a_value(images: torch.Tensor) -> None:
    assert images.sum().item() < 1e9


def chooses_by_a_mask(images: torch.Tensor) -> None:
    images[images > 0].sum()


def adds_a_tensor_of_the_host(images: torch.Tensor) -> None:
    images.add(torch.ones(images.shape))


def copies_from_the_host(images: torch.Tensor) -> None:
    torch.ones(3).to(images.device)


def chooses_by_rows_of_the_host(images: torch.Tensor) -> None:
    images[torch.arange(2)]


FAULTS = {
    reads_a_value: DataDependentOutputException,
    chooses_by_a_mask: Waited,
    adds_a_tensor_of_the_host: RuntimeError,
    copies_from_the_host: Waited,
    chooses_by_rows_of_the_host: Waited,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_waiting_would_be_noticed(monkeypatch, tmp_path, fault, step):
    original = getattr(Classifier, step)

    def faulty(module: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        fault(batch[0])
        return original(module, batch, batch_idx)

    monkeypatch.setattr(Classifier, step, faulty)
    with pytest.raises(FAULTS[fault]):
        run(monkeypatch, tmp_path, "model=lenet5", "recipe=fast")


BIG, SMALL = 100 * 2**30, 2**20  # bytes
H200, T4 = (9, 0), (7, 5)


@pytest.mark.parametrize(
    ("gpus", "options", "devices", "precision"),
    [
        ([H200], {}, ["cuda:0"], "bf16-mixed"),
        ([T4, H200], {"devices": 1}, ["cuda:0"], "32-true"),
        ([T4, H200], {"devices": [1]}, ["cuda:1"], "bf16-mixed"),
        ([T4, H200], {"devices": "auto"}, ["cuda:0", "cuda:1"], "32-true"),
        ([H200], {"accelerator": "cpu"}, ["cpu"], None),
        ([H200], {"devices": 2}, "devices must be among the 1 GPU", None),
        ([], {}, ["cpu"], None),
        ([], {"accelerator": "gpu"}, "accelerator=gpu: torch finds no such device", None),
    ],
)
def test_the_choice_of_device_and_precision(monkeypatch, gpus, options, devices, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpus[torch.device(device).index])
    options = {"devices": 1, "accelerator": "auto", **options}
    if isinstance(devices, str):
        with pytest.raises(ValueError, match=devices):
            training_devices(options)
        return
    chosen = [str(device) for device in training_devices(options)]
    assert chosen == devices
    if precision:
        auto_precision.cache_clear()
        assert auto_precision(*chosen) == precision
        auto_precision.cache_clear()


@pytest.mark.parametrize(("free", "where"), [(BIG, "device"), (SMALL, "host")])
def test_the_choice_of_residence(monkeypatch, tmp_path, class_folders, free, where):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free if device.index == 1 else BIG, BIG))
    found = find_source(None, class_folders)
    assert choose_placement(found, 64, 4, tmp_path, torch.device("cuda", 1)) == where


STRICT = """
import lightning as L
import torch

class Strict(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, number):
        if number:  # the first step loads libraries
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_):
        torch.cuda.set_sync_debug_mode("default")
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_gpu_is_not_waited_for_within_a_step(train, tmp_path, recipe):
    (tmp_path / "strict.py").write_text(STRICT)
    small = ("data=digits", "logger=none", "data.batch_size=64", "trainer.max_epochs=2", "trainer.accelerator=gpu")
    outcome = train(*RECIPES[recipe], *small, "+callbacks.strict={_target_: strict.Strict}")
    torch.cuda.set_sync_debug_mode("default")
    assert outcome.code == 0, outcome.err
