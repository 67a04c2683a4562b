"""Lines before a training, for images of classes of different sizes and for large batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.build.advice import advise
from cnnlab.data.datamodule import ImageDataModule


def lines(folder: Path, counts: dict[str, int], loss: Any = None, trainer: Any = None, **data: Any) -> list[str]:
    """Return the lines for folders of as many training images, of which one in ten is held out."""
    random = np.random.default_rng(0)
    for name, count in counts.items():
        for split, number in (("train", count), ("test", 1)):
            (folder / split / name).mkdir(parents=True)
            for image in range(number):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{image}.png")
    module = ImageDataModule(path=str(folder), image_size=8, **{"batch_size": 2, **data})
    return advise({"loss": loss or {}, "trainer": trainer or {}}, module)


def test_classes_of_very_different_sizes_are_named_with_the_keys_that_help(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, {"ant": 40, "bee": 20, "cow": 10})
    assert line.startswith("Class ant has 36 training images, cow has 9. ")
    for key in ("data.sampling=balanced", "loss.weight=balanced", "select=val/balanced_accuracy"):
        assert key in line


@pytest.mark.parametrize(
    ("counts", "options"),
    [
        ({"ant": 30, "bee": 10}, {}),
        ({"ant": 40, "bee": 10}, {"sampling": "balanced"}),
        ({"ant": 40, "bee": 10}, {"loss": {"weight": "balanced"}}),
    ],
    ids=["three times", "sampling", "loss"],
)
def test_nothing_is_said_of_similar_sizes_or_if_classes_are_balanced(
    tmp_path: Path, counts: dict[str, int], options: dict[str, Any]
) -> None:
    assert lines(tmp_path, counts, **options) == []


@pytest.mark.parametrize(
    ("batch_size", "trainer", "line"),
    [
        (3, {}, None),  # 72 images
        (4, {}, "Steps per epoch: 18, which is few; data.batch_size=3 gives 24."),
        (512, {}, "Steps per epoch: 1, which is few; data.batch_size=3 gives 24."),
        (3, {"accumulate_grad_batches": 2}, None),  # no batch size gives 20
        (3, {"accumulate_grad_batches": 1}, None),
    ],
)
def test_few_steps_are_said_with_the_batch_size_that_gives_more(
    tmp_path: Path, batch_size: int, trainer: dict[str, int], line: str | None
) -> None:
    found = lines(tmp_path, {"ant": 40, "bee": 40}, trainer=trainer, batch_size=batch_size)
    assert found == ([line] if line else [])


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"fraction": 0.75}, "Steps per epoch: 18, which is few; data.batch_size=2 gives 27."),  # 54 of 72 images
        ({"fold": 1, "folds": 4, "batch_size": 4}, "Steps per epoch: 15, which is few; data.batch_size=3 gives 20."),
    ],
)
def test_steps_are_counted_with_the_images_that_train(tmp_path: Path, part: dict[str, Any], line: str) -> None:
    assert lines(tmp_path, {"ant": 40, "bee": 40}, **{"batch_size": 3, **part}) == [line]
