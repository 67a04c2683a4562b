"""Provide small data in every form that the sources read, and keep all files in the folders of the tests."""

import functools
import importlib
import importlib.util
import io
import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from cnnlab.build.network import build_network
from cnnlab.data.images import ImageData, Images

# The tests run many hundred commands, and each composes its configuration. OmegaConf parses it with PyYAML's loader
# written in Python; the loader written in C does the same in less time.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # pyright: ignore[reportAttributeAccessIssue]
# Hydra composes twice, the first time only to read hydra.mode. This takes 0.1 s of each command, a quarter of the time
# of tests/config/test_messages.py, so it is skipped if nothing in the arguments can set the mode.
_hydra_get_mode = Hydra.get_mode


def _get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    sets_mode = any(override.startswith(("experiment=", "hydra.mode", "hydra/", "hydra=")) for override in overrides)
    return _hydra_get_mode(self, config_name, overrides) if sets_mode else None


Hydra.get_mode = _get_mode

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_PER_CLASS, TEST_PER_CLASS = 12, 3


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_environment(session_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CNNLAB_CACHE", str(session_cache))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    yield
    HydraConfig.instance().cfg = None  # the command line of a command that ran in this process


@dataclass(frozen=True)
class Outcome:
    """What a command gave: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `cnnlab NAME` with the given arguments in an empty folder, in this process: it saves the imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def run(name: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"cnnlab.{name}", *arguments])
        capsys.readouterr()
        code = 0
        try:
            importlib.import_module(f"cnnlab.{name}").main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture
def train(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Runs `cnnlab train` with the given arguments."""
    return functools.partial(command, "train")


def _script(name: str) -> Any:
    """A module of experiments/speed, which is no package."""
    file = Path(__file__).parents[1] / "experiments" / "speed" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"speed_{name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Writes a run directory with invented figures (see experiments/speed/compare.py)."""
    return _script("compare").make_run


@pytest.fixture(scope="session")
def sample() -> ImageData:
    """What the folders below hold: noise with CIFAR-10's classes, in the order of the classes, as folders have it."""
    random = np.random.default_rng(0)

    def images(per_class: int) -> Images:
        labels = np.repeat(np.arange(len(CLASSES)), per_class)
        pixels = random.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        return Images.decoded(torch.from_numpy(pixels), torch.from_numpy(labels))

    return ImageData(images(TRAIN_PER_CLASS), images(TEST_PER_CLASS), CLASSES, fingerprint="")


@pytest.fixture
def parquet_folder(tmp_path: Path, sample: ImageData) -> Path:
    """As the Hugging Face Hub has CIFAR-10."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    features = {"img": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for name, split in (("train", sample.train), ("test", sample.test)):
        images = [{"bytes": _png(pixels), "path": f"{i}.png"} for i, pixels in enumerate(split.pixels.numpy())]
        table = pa.table({"img": images, "label": split.labels.numpy()}).replace_schema_metadata(metadata)
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def batches_folder(tmp_path: Path, sample: ImageData) -> Path:
    """As the authors of CIFAR-10 publish its python version."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, positions in enumerate(torch.arange(len(sample.train)).tensor_split(5), start=1):
        _write_batch(folder / f"data_batch_{number}", sample.train.take(positions))
    _write_batch(folder / "test_batch", sample.test)
    _pickle_as_python2({b"label_names": [name.encode() for name in CLASSES]}, folder / "batches.meta")
    return folder


@pytest.fixture
def class_folders(tmp_path: Path, sample: ImageData) -> Path:
    """A folder per class below train/ and test/."""
    root = tmp_path / "class_folders"
    for name, split in (("train", sample.train), ("test", sample.test)):
        for i, (pixels, label) in enumerate(zip(split.pixels.numpy(), split.labels.tolist(), strict=True)):
            file = root / name / CLASSES[label] / f"{i:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_png(pixels))
    return root


@pytest.fixture
def photo_folders(tmp_path: Path) -> Path:
    """A folder per class without train/ and test/: PNG and JPEG files of many sizes, 12 of each of three classes."""
    root = tmp_path / "photos"
    random = np.random.default_rng(1)
    for name in ("owl", "cat", "dog"):
        (root / name).mkdir(parents=True)
        for i, suffix in enumerate((".png", ".jpg", ".jpeg", ".PNG", ".JPG") * 3):
            if i == 12:
                break
            height, width = random.integers(20, 70, 2)
            image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
            image.save(root / name / f"{i:02}{suffix}")
    return root


@pytest.fixture(scope="session")
def save_untrained() -> Callable[..., Path]:
    """Writes a checkpoint of a network that was not trained into a folder."""
    lenet = {"_target_": "cnnlab.models.lenet.LeNet5"}
    described = {
        "classes": ["cat", "dog", "owl"],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
        "image_size": 32,
        "channels": 3,
        "data_fingerprint": "0123456789abcdef",
    }

    def write(folder: Path, model: dict[str, Any] = lenet, weights: dict[str, Any] | None = None, **about: Any) -> Path:
        if weights is None:
            torch.manual_seed(0)
            network = build_network(model, 3)
            weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        file = folder / "best.ckpt"
        torch.save({"state_dict": weights, "cnnlab": {**described, "model": model, **about}}, file)
        return file

    return write


@pytest.fixture
def save(tmp_path: Path, save_untrained: Callable[..., Path]) -> Callable[..., Path]:
    """The same into the test's own folder."""
    return functools.partial(save_untrained, tmp_path)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_batch(file: Path, images: Images) -> None:
    planes = images.pixels.permute(0, 3, 1, 2).reshape(len(images), -1).contiguous().numpy()
    _pickle_as_python2({b"batch_label": b"part", b"labels": images.labels.tolist(), b"data": planes}, file)


_Pickler: Any = pickle._Pickler  # pyright: ignore[reportAttributeAccessIssue]


class _Python2Pickler(_Pickler):
    """Writes byte strings as Python 2 did, which the published files come from."""

    dispatch = dict(_Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_bytes


def _pickle_as_python2(value: Any, file: Path) -> None:
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(value)
    file.write_bytes(buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """Train shortly on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    asked = ("model=lenet5", "data=digits", "data.batch_size=32", "augmentation.flip=none", "trainer.max_epochs=2")
    others = ("trainer.precision=32-true", "trainer.accelerator=cpu", "tta=flip", "logger=none")
    from cnnlab.train import main as train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_CACHE", str(session_cache))
        patch.setattr(sys, "argv", ["cnnlab.train", *asked, *others, f"hydra.run.dir={folder}"])
        with pytest.raises(SystemExit) as end:
            train()
    assert not end.value.code
    return folder


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Path:
    """Copy that run for one test."""
    return Path(shutil.copytree(digits_run, tmp_path / "run"))
