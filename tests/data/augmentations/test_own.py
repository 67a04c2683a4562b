import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from cnnlab.data.augment import Augmentation
from cnnlab.data.augmentations.own import Own
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.epoch import Epoch, seeded_generator
from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.errors import RequestError

HALF = torch.tensor([0.5] * 3)
Batches = list[tuple[Tensor, Tensor]]


class Noise(nn.Module):
    """Adds noise, whose scale is a buffer, to a clean part of the images."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.1))

    def forward(self, images: Tensor) -> Tensor:
        return images + self.scale * torch.randn_like(images)


def by_all_generators(images: Tensor) -> Tensor:
    return images * random.random() + np.random.rand() + torch.rand(())


def batches(*functions: Any, epoch: int = 1, done: int = 0, **options: Any) -> Batches:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=generator)
    images = Images.decoded(pixels, torch.arange(40) % 4)
    augmentation = Augmentation(flip="random", then=functions)
    loader = Loader(images, 10, HALF, HALF, augmentation, **{"shuffle": True, "classes": 4, **options})
    loader.sampler.set_epoch(epoch)
    loader.load_state_dict({"epoch": epoch, "batches_done": done})
    return list(loader)


def equal(found: Batches, expected: Batches) -> bool:
    return all(torch.equal(a, b) for (a, _), (b, _) in zip(found, expected, strict=True))


def test_functions_get_float_images_before_they_are_normalized() -> None:
    seen: list[Tensor] = []

    def invert(images: Tensor) -> Tensor:
        seen.append(images)
        return 1 - images

    plain, inverted = batches(), batches(invert)
    assert seen[0].shape == (10, 3, 8, 8) and seen[0].dtype == torch.float32
    assert (float(seen[0].min()), float(seen[0].max())) == (0, 1)
    for (images, _), (changed, _) in zip(plain, inverted, strict=True):
        torch.testing.assert_close(changed, -images)
        assert changed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("function", [Noise(), by_all_generators, v2.GaussianNoise(), v2.RandomErasing(p=1.0)])
def test_what_they_draw_is_repeated_and_differs_in_all_batches_and_epochs(function: Any) -> None:
    whole = batches(function)
    torch.manual_seed(5)
    random.seed(5)
    assert equal(batches(function), whole)
    assert equal(batches(function, done=2), whole[2:])  # as after a resume
    assert not equal(batches(function, epoch=2), whole)
    assert not equal(batches(function, seed=1), whole)
    changes = [changed - plain for (changed, _), (plain, _) in zip(whole, batches(), strict=True)]
    assert not torch.equal(changes[0], changes[1])


def test_processes_draw_different_numbers() -> None:
    first, second = (batches(Noise(), rank=rank, world_size=2)[0][0] for rank in range(2))
    plain = [batches(rank=rank, world_size=2)[0][0] for rank in range(2)]
    assert not torch.allclose(first - plain[0], second - plain[1])


def test_all_generators_are_left_as_they_were() -> None:
    states = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    batches(by_all_generators)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), pickle.dumps(np.random.get_state())) == states[1:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_draws_are_repeated_and_its_generator_is_left_as_it_was() -> None:
    state = torch.cuda.get_rng_state()
    assert equal(batches(Noise(), device="cuda"), batches(Noise(), device="cuda"))
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images[..., :4], r"augmentation.then\[0\] must return float32 .*, not torch.float32 .*, 4\)"),
        (lambda images: images.half(), r"augmentation.then\[0\] must return float32 .*, not torch.float16"),
        (lambda _: None, r"augmentation.then\[0\] must return float32 .*, not <class 'NoneType'>"),
        (lambda images: images.unknown, r"augmentation.then: AttributeError: .* \(test_own.py, line \d+\)"),
    ],
)
def test_a_function_that_does_not_work_is_refused_before_images_are_read(function: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ImageDataModule(path="nowhere", augmentation=Augmentation(then=[function]))


def test_nothing_is_drawn_without_functions() -> None:
    assert Own(()).draw(seeded_generator(0, 0, 9), Epoch(10, 8, 0, 0)) == {}
