import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import ImageData, Images
from cnnlab.data.normalization import channel_statistics
from cnnlab.errors import RequestError
from cnnlab.instantiate import build


def rows(images: Images) -> set[bytes]:
    """Return the images as a set; all images of the sample differ."""
    return {image.numpy().tobytes() for image in images.pixels}


def batches_of(loader: Any) -> list[tuple[Tensor, Tensor]]:
    return list(loader)


def test_holdout_keeps_a_tenth_of_the_training_images(class_folders: Path, sample: ImageData) -> None:
    module = ImageDataModule(path=str(class_folders))
    assert (len(module.train), len(module.val), len(module.test)) == (110, 10, 30)
    assert module.val.labels.bincount().tolist() == [1] * 10
    assert rows(module.train) | rows(module.val) == rows(sample.train)
    assert rows(module.test) == rows(sample.test)
    assert not rows(module.train) & rows(module.val)


def test_holdout_never_shows_test_images_before_the_test(class_folders: Path) -> None:
    module = ImageDataModule(path=str(class_folders))
    assert not rows(module.test) & (rows(module.train) | rows(module.val))


def test_holdout_is_the_same_for_every_seed(class_folders: Path) -> None:
    first, second = (ImageDataModule(path=str(class_folders), seed=seed) for seed in (0, 1))
    assert torch.equal(first.val.pixels, second.val.pixels)
    assert torch.equal(first.train.pixels, second.train.pixels)
    one, other = (batches_of(module.train_dataloader()) for module in (first, second))
    assert not torch.equal(one[0][1], other[0][1])


def test_article_selects_on_the_test_images(class_folders: Path, sample: ImageData) -> None:
    module = ImageDataModule(path=str(class_folders), protocol="article")
    assert torch.equal(module.train.pixels, sample.train.pixels)
    assert torch.equal(module.val.pixels, sample.test.pixels)
    assert torch.equal(module.test.pixels, sample.test.pixels)


def test_loaders_augment_and_shuffle_only_the_training_images(class_folders: Path) -> None:
    module = ImageDataModule(
        path=str(class_folders), batch_size=40, eval_batch_size=7, augmentation=Augmentation(pad=3, cutout=8)
    )
    train, val, test = (
        batches_of(loader) for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    )
    assert [len(labels) for _, labels in train] == [40, 40, 30]
    assert [len(labels) for _, labels in val] == [7, 3]
    for batches, images in ((val, module.val), (test, module.test)):
        assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
        expected = (images.pixels / 255 - module.mean) / module.std
        pixels = torch.cat([pixels for pixels, _ in batches]).permute(0, 2, 3, 1)
        torch.testing.assert_close(pixels, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(torch.cat([labels for _, labels in train]), module.train.labels)
    assert sum(int((pixels == 0).all(dim=1).sum()) for pixels, _ in train) > 110 * 16


def test_balanced_sampling_is_for_the_training_images_alone(class_folders: Path) -> None:
    for file in sorted(min((class_folders / "train").iterdir()).iterdir())[3:]:
        file.unlink()
    module = ImageDataModule(path=str(class_folders), sampling="balanced")
    train, val = (
        torch.cat([labels for _, labels in batches_of(loader)]).bincount().tolist()
        for loader in (module.train_dataloader(), module.val_dataloader())
    )
    counts = module.train.labels.bincount()
    assert min(counts) < max(counts) / 3
    assert sum(train) == len(module.train)
    assert max(train) - min(train) <= 1
    assert val == module.val.labels.bincount().tolist()


def test_normalization_comes_only_from_the_training_images(class_folders: Path) -> None:
    module = ImageDataModule(path=str(class_folders))
    mean, std = channel_statistics([module.train.pixels])
    assert torch.equal(module.mean, mean)
    assert torch.equal(module.std, std)


def test_a_sample_holds_normalized_training_images_without_augmentation(class_folders: Path) -> None:
    module = ImageDataModule(path=str(class_folders), augmentation=Augmentation(pad=4, flip="random", cutout=8))
    images = module.sample(37)
    assert images.shape == (37, 3, 32, 32)
    pixels = (images.permute(0, 2, 3, 1) * module.std + module.mean) * 255
    shown = {image.round().to(torch.uint8).numpy().tobytes() for image in pixels}
    assert len(shown) == 37
    assert shown <= rows(module.train)
    assert len(module.sample()) == len(module.train)


def test_given_constants_are_used(class_folders: Path) -> None:
    module = ImageDataModule(path=str(class_folders), mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert module.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert module.std.tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_mean_of_zero_is_used(class_folders: Path) -> None:
    assert ImageDataModule(path=str(class_folders), mean=[0.0, 0.0, 0.0]).mean.tolist() == [0, 0, 0]


def test_expected_classes_are_checked(class_folders: Path, photo_folders: Path, sample: ImageData) -> None:
    cifar10 = list(sample.classes)
    assert ImageDataModule(path=str(class_folders), classes=cifar10).classes == sample.classes
    with pytest.raises(RequestError, match=r"cat, dog, owl, but airplane.*data=folder takes any") as caught:
        ImageDataModule(path=str(photo_folders), classes=cifar10)
    assert str(photo_folders) in str(caught.value)


def test_numbered_classes_take_the_expected_names(parquet_folder: Path, sample: ImageData) -> None:
    for file in parquet_folder.iterdir():
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    assert ImageDataModule(path=str(parquet_folder)).classes == tuple("0123456789")
    assert ImageDataModule(path=str(parquet_folder), classes=list(sample.classes)).classes == sample.classes


def test_images_have_the_image_size(class_folders: Path) -> None:
    module = ImageDataModule(path=str(class_folders), image_size=16)
    images, _ = batches_of(module.train_dataloader())[0]
    assert images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be from 1 to 10000, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size must be 1 or more, got -1"),
        ({"holdout": 0.0}, "holdout must be between 0 and 1, got 0.0"),
        ({"holdout": 1.0}, "holdout must be between 0 and 1, got 1.0"),
        ({"mean": [0.5]}, "mean must be a list of 3"),
        ({"std": [0.5, 0.5, 0.0]}, "std must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=f"^data.{message}"):
        build({"_target_": "cnnlab.data.datamodule.ImageDataModule", "source": "digits", **options}, "data")


def test_padding_that_cannot_be_reflected_is_refused() -> None:
    with pytest.raises(RequestError, match="augmentation.pad must be less than image_size, 16, got 16"):
        ImageDataModule(source="digits", image_size=16, augmentation=Augmentation(pad=16))


@pytest.mark.parametrize(("holdout", "train"), [(0.001, 29), (0.999, 3)])
def test_every_split_has_an_image_and_training_one_of_each_class(
    photo_folders: Path, holdout: float, train: int
) -> None:
    module = ImageDataModule(path=str(photo_folders), holdout=holdout)
    assert module.counts == {"train": train, "val": 30 - train, "test": 6}
    assert len(module.train.labels.unique()) == 3


def test_classes_that_a_split_lacks_are_named(photo_folders: Path) -> None:
    for name in ("owl", "cat"):
        for file in sorted((photo_folders / name).iterdir())[2:]:
            file.unlink()
    module = ImageDataModule(path=str(photo_folders))
    assert module.counts == {"train": 12, "val": 1, "test": 3}
    assert module.findings.remarks == ("no val images of cat, owl", "no test images of owl")


@pytest.mark.parametrize("residence", ["host", "stream"])
def test_many_classes_of_three_images_are_split(tmp_path: Path, residence: Any) -> None:
    for number in range(90):
        (tmp_path / "set" / f"class {number}").mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (2, 2), (number, i, 0)).save(tmp_path / "set" / f"class {number}" / f"{i}.bmp")
    module = ImageDataModule(path=str(tmp_path / "set"), image_size=4, residence=residence)
    assert module.counts == {"train": 203, "val": 22, "test": 45}
    assert len(module.train.labels.unique()) == 90
    assert "no test images of" in module.findings.remarks[-1] and "(45 in all)" in module.findings.remarks[-1]


@pytest.mark.parametrize("residence", ["device", "host", "stream"])
def test_images_that_cannot_be_read_stop_or_are_left_out(photo_folders: Path, residence: Any) -> None:
    whole = ImageDataModule(path=str(photo_folders), residence=residence)
    damaged = [photo_folders / "cat" / "00.png", photo_folders / "dog" / "01.jpg", photo_folders / "owl" / "02.jpeg"]
    for file in damaged:
        file.write_bytes(b"")
    damaged[2].unlink()
    os.mkfifo(damaged[2])
    with pytest.raises(RequestError, match=r"^data: \d of (36|27) images cannot be read: ") as caught:
        ImageDataModule(path=str(photo_folders), residence=residence)
    assert all(str(file) in str(caught.value) for file in damaged) or residence == "stream"
    for _ in ("from the source", "from the cache"):
        module = ImageDataModule(path=str(photo_folders), residence=residence, on_error="skip")
        assert sum(module.counts.values()) == 33
        assert module.findings.ignored == {"damaged images": 3}
        assert module.fingerprint != whole.fingerprint
        assert len(module.train.read(torch.arange(len(module.train)))) == len(module.train)


def test_nothing_changes_if_there_is_nothing_to_skip(photo_folders: Path) -> None:
    modules = [
        ImageDataModule(path=str(photo_folders), residence="host", on_error=choice) for choice in ("stop", "skip")
    ]
    assert modules[0].fingerprint == modules[1].fingerprint
    assert modules[1].findings.ignored == {}


def test_a_class_without_a_readable_image_is_refused(photo_folders: Path) -> None:
    for file in (photo_folders / "dog").iterdir():
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(RequestError, match="data: no image of dog can be read"):
        ImageDataModule(path=str(photo_folders), on_error="skip")
