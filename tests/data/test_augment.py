"""Test augmentations together: draws and batches must never change."""

import hashlib
from typing import Any

import pytest
import torch

from cnnlab.data.augment import Augmentation
from cnnlab.data.augmentations.blanking import Cutout, Erasing
from cnnlab.data.augmentations.colour import Colour
from cnnlab.data.augmentations.crop import Crop
from cnnlab.data.augmentations.flip import Flip
from cnnlab.data.augmentations.geometry import Geometry
from cnnlab.data.augmentations.mixing import Mixing
from cnnlab.data.augmentations.policy import Policy
from cnnlab.data.epoch import Epoch
from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.errors import RequestError
from cnnlab.instantiate import build

STEPS = (Crop, Flip, Cutout, Erasing, Mixing, Policy, Geometry, Colour)
# Options, a digest of their draws in three epochs, and the sum of projections of all batches. If they change, old runs
# cannot be repeated.
EXPECTED: list[tuple[dict[str, Any], str, float]] = [
    ({}, "e3b0c44298fc1c14", 619.168),
    ({"pad": 3}, "0ed441fb2ba0aca3", 585.452),
    ({"pad": 2, "padding_mode": "zeros"}, "9bde4f4f769f3c8d", 732.167),
    ({"flip": "random"}, "69ee8dfc958acfd6", 619.676),
    ({"flip": "alternating"}, "b40b48db895fe214", 619.583),
    ({"cutout": 5}, "d0fd0cbfb1d7f8b4", 475.088),
    ({"erasing": 0.6}, "be343c3890ae7e66", 572.099),
    ({"mixup": 0.4}, "54c69d0af06db3fe", 485.042),
    ({"cutmix": 1.0}, "00a2be8794c86fad", 499.28),
    ({"mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.5}, "e678971cbaff3be2", 469.67),
    ({"sizes": [[0, 12], [1, 6], [2, 8]]}, "e3b0c44298fc1c14", 711.695),
    ({"policy": "trivial"}, "e0c10c3b6dfd532a", 1097.864),
    ({"policy": "rand", "rand_operations": 3, "rand_magnitude": 14}, "5bb32128ba64fb63", 674.296),
    ({"rotation": 20.0, "scale": 0.2, "shear": 10.0}, "17386d4a738b2860", 627.112),
    ({"rotation": 20.0, "padding_mode": "zeros"}, "f08e7e9060d71e75", 565.377),
    ({"brightness": 0.4, "contrast": 0.3, "saturation": 0.5, "hue": 0.2, "grey": 0.1}, "4929e52c499cea91", 513.958),
    (
        {
            "pad": 3,
            "flip": "random",
            "cutout": 5,
            "erasing": 0.5,
            "mixup": 0.4,
            "cutmix": 1.0,
            "mix_probability": 0.8,
            "sizes": [[1, 6]],
        },
        "02111ead42058e26",
        237.059,
    ),
    (
        {
            "pad": 1,
            "padding_mode": "zeros",
            "flip": "alternating",
            "cutout": 4,
            "erasing": 0.5,
            "mixup": 0.2,
            "cutmix": 0.5,
        },
        "98aa25e8923c70b6",
        489.527,
    ),
]


def digest(augmentation: Augmentation) -> str:
    """Return a digest of the draws for 20 images, over three epochs."""
    found = hashlib.sha256()
    for number in range(3):
        draws = augmentation.draw(Epoch(20, 8, seed=7, number=number))
        drawn = [value for step in STEPS for value in draws.get(step, {}).values()]
        for values in drawn:
            whole = (values * 10000).round() if values.is_floating_point() else values
            found.update(whole.long().numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize(("options", "draws", "projection"), EXPECTED, ids=lambda value: str(value)[:60])
def test_draws_and_batches_never_change(options: Any, draws: str, projection: float, placement: Any) -> None:
    augmentation = Augmentation(**options)
    assert digest(augmentation) == draws
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8, generator=generator)
    labels = torch.arange(20) % 4
    images = Images.decoded(pixels, labels)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    loader = Loader(images, 6, mean, std, augmentation, shuffle=True, seed=7, classes=4, placement=placement)
    found = 0.0
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        for batch, targets in loader:
            # A projection, because the last bit of a float may differ between processors.
            weights = torch.linspace(-1, 1, batch.numel(), dtype=torch.float64) ** 3
            found += float((batch.double().flatten() * weights).sum() + (targets.double().flatten() ** 2).sum())
    # Between pixels, processors may round to neighbouring values.
    assert found == pytest.approx(projection, abs=0.1 if "rotation" in options else 2e-3)


def flat(draws: Any) -> torch.Tensor:
    """Return all draws in one tensor, with a row for each image."""
    columns = [value.view(len(value), -1).double() for drawn in draws.values() for value in drawn.values()]
    return torch.cat(columns, dim=1)


@pytest.mark.parametrize(
    "options", [{"pad": 4, "cutout": 8, "flip": "random"}, {"erasing": 0.5, "mixup": 0.5, "cutmix": 1.0}]
)
def test_draws_depend_only_on_seed_and_epoch(options: Any) -> None:
    augmentation = Augmentation(**options)

    def drawn(seed: int, epoch: int) -> torch.Tensor:
        return flat(augmentation.draw(Epoch(50, 32, seed, epoch)))

    first = drawn(3, 5)
    torch.manual_seed(99)
    assert torch.equal(drawn(3, 5), first)
    for other in (drawn(3, 6), drawn(4, 5), drawn(5, 3)):
        assert not torch.equal(other, first)


def test_further_augmentations_do_not_change_the_draws_of_the_others() -> None:
    epoch = Epoch(50, 32, seed=0, number=1)
    plain = Augmentation(pad=4, flip="random", cutout=8).draw(epoch)
    more = Augmentation(pad=4, flip="random", cutout=8, erasing=0.5, mixup=0.2, cutmix=1.0).draw(epoch)
    assert set(plain) == {Crop, Flip, Cutout}
    assert torch.equal(flat(plain), flat({step: more[step] for step in plain}))


def test_nothing_is_drawn_unless_asked_for() -> None:
    for augmentation in (Augmentation(), Augmentation(mixup=0.2, mix_probability=0.0)):
        assert not augmentation.mixes
        assert augmentation.draw(Epoch(10, 32, seed=0, number=0)) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad": -1}, "pad must be 0 or more, got -1"),
        ({"cutout": -1}, "cutout must be 0 or more, got -1"),
        ({"mixup": -0.1}, "mixup must be 0 or more, got -0.1"),
        ({"cutmix": -1.0}, "cutmix must be 0 or more, got -1.0"),
        ({"mix_probability": -0.5}, "mix_probability must be from 0 to 1, got -0.5"),
        ({"erasing": 1.5}, "erasing must be from 0 to 1, got 1.5"),
        ({"policy": "auto"}, "policy must be one of none, trivial, rand, got 'auto'"),
        ({"rand_operations": 0}, "rand_operations must be 1 or more, got 0"),
        ({"rand_magnitude": 31}, "rand_magnitude must be from 0 to 30, got 31"),
        ({"rotation": -10}, "rotation must be from 0 to 180, got -10"),
        ({"scale": 1.0}, "scale must be at least 0 and below 1, got 1.0"),
        ({"shear": 90}, "shear must be at least 0 and below 90, got 90"),
        ({"brightness": 1.5}, "brightness must be from 0 to 1, got 1.5"),
        ({"hue": 0.6}, "hue must be from 0 to 0.5, got 0.6"),
        ({"grey": -0.1}, "grey must be from 0 to 1, got -0.1"),
        ({"then": ["mynoise"]}, "then must be a list such as .*, got "),
        ({"sizes": [[0, 24], [0, 32]]}, "sizes must be .* pairs with rising times, .* got "),
        ({"sizes": 24}, "sizes must be a list of lists, got 24"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=f"^augmentation.{message}"):
        build({"_target_": "cnnlab.data.augment.Augmentation", **options}, "augmentation")
