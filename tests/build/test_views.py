import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.build.views import SHOWN, augmented_views, describe_augmentation
from cnnlab.data.augment import Augmentation
from cnnlab.data.datamodule import ImageDataModule


def views(folder: Path, **options: object) -> list[list[Any]]:
    return augmented_views(ImageDataModule(path=str(folder), augmentation=Augmentation(**options), seed=3))  # type: ignore


def test_rows_hold_an_image_and_its_first_epochs(class_folders: Path) -> None:
    rows = views(class_folders)
    assert [len(row) for row in rows] == [1 + SHOWN] * SHOWN
    for original, *others in rows:
        assert all(np.array_equal(original.image, other.image) for other in others)  # nothing is changed
        assert [other.caption for other in others] == [f"epoch {i}: {original.caption}" for i in range(1, SHOWN + 1)]
    assert len({row[0].caption for row in rows}) > 4  # spread over the classes


def test_they_are_what_the_loader_yields(class_folders: Path) -> None:
    augmentation = Augmentation(pad=3, flip="random", policy="trivial", cutout=8)
    data = ImageDataModule(path=str(class_folders), augmentation=augmentation, seed=3, batch_size=1000)
    rows, loader = augmented_views(data), data.train_dataloader()
    loader.sampler.set_epoch(4)
    ((images, _),) = list(loader)
    order = loader.sampler.positions().tolist()
    pixels = ((images.permute(0, 2, 3, 1) * data.std + data.mean) * 255).round().clamp(0, 255).numpy()
    for row, position in zip(rows, data.spread(SHOWN).tolist(), strict=True):
        assert np.array_equal(row[1 + 4].image, pixels[order.index(position)])


def test_mixed_images_have_shares_of_classes(class_folders: Path) -> None:
    captions = [tile.caption for row in views(class_folders, mixup=1.0) for tile in row[1:]]
    assert any(re.fullmatch(r"epoch \d: \d+% \w+ \+ \d+% \w+", caption) for caption in captions)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pad": 0, "padding_mode": "reflect", "sizes": []}, "no augmentation"),
        ({"pad": 3, "policy": "trivial", "hue": 0.1, "mixup": 0.0}, "pad=3 policy=trivial hue=0.1"),
        ({"then": [{"_target_": "mymodule.Noise", "most": 1}]}, "then=['mymodule.Noise']"),
    ],
)
def test_options_are_described(options: dict[str, object], text: str) -> None:
    assert describe_augmentation({"_target_": "cnnlab.data.augment.Augmentation", **options}) == text


def test_the_command_draws_them(command, tmp_path: Path) -> None:
    outcome = command("visualize", "augmentation=true", "data=digits", "augmentation.policy=rand", "output=shown")
    assert (outcome.code, outcome.err) == (0, "")
    assert "shown/augmentation.png: " in outcome.out and "policy=rand" in outcome.out
    assert Image.open(tmp_path / "shown" / "augmentation.png").width > 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shown"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("augmentation=true", "data=digits", "augmentation.policy=auto"), "augmentation.policy must be one of none, "),
        (("augmentation=true", "data=digits", "checkpoint=RUN"), "checkpoint is not a key"),
        (("checkpoint=RUN", "augmentation.policy=trivial"), "augmentation.policy is not a key"),
        (("augmentation=true", "data=digits", "-m"), "-m: cnnlab visualize"),
    ],
)
def test_wrong_requests_are_refused(command, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    outcome = command("visualize", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(message) and len(outcome.err.splitlines()) <= 3
    assert not list(tmp_path.iterdir())
