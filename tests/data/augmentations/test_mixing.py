import pytest
import torch
from torch import Tensor

from cnnlab.data.augmentations.mixing import Mixing, mix_labels
from cnnlab.data.epoch import Epoch, seeded_generator


def drawn(mixing: Mixing, epoch: int = 0, images: int = 4000) -> dict[str, Tensor]:
    return mixing.draw(seeded_generator(0, epoch, Mixing.stream), Epoch(images, 32, seed=0, number=epoch))


def areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 32**2


def test_every_image_is_the_partner_of_exactly_one_image_and_epochs_differ() -> None:
    mixings = [drawn(Mixing(0.2, 0, 1), epoch) for epoch in range(2)]
    for mixing in mixings:
        assert torch.equal(mixing["partner"].sort().values, torch.arange(4000))
    assert not torch.equal(mixings[0]["partner"], mixings[1]["partner"])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_weights_are_beta_distributed_and_leave_no_box(alpha: float) -> None:
    mixing = drawn(Mixing(alpha, 0, 1), images=20000)
    assert mixing["weight"].mean() == pytest.approx(0.5, abs=0.02)
    assert mixing["weight"].var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    assert (areas(mixing["box"]) == 0).all()


def test_cutmix_areas_are_beta_distributed_and_leave_the_weight_alone() -> None:
    mixing = drawn(Mixing(0, 1.0, 1), images=20000)
    assert (mixing["weight"] == 1).all()
    assert mixing["box"].min() == 0
    assert mixing["box"].max() == 32
    inside = (mixing["box"][:, :2] > 0).all(1) & (mixing["box"][:, 2:] < 32).all(1)
    heights, widths = (mixing["box"][:, 2 + i] - mixing["box"][:, i] for i in range(2))
    assert ((heights - widths).abs()[inside] <= 1).all()  # square, except for rounding and borders
    # A side s is cut at the borders to s - s^2 / 4 on average, and s^2 is uniform: 1/2 - 1/5 + 1/48 of the image.
    assert areas(mixing["box"]).mean() == pytest.approx(0.321, abs=0.01)


def test_with_both_each_image_has_one_and_the_probability_is_kept() -> None:
    mixing = drawn(Mixing(1.0, 1.0, 0.6))
    by_weight, by_box = mixing["weight"] < 1, areas(mixing["box"]) > 0
    assert not (by_weight & by_box).any()
    assert by_weight.float().mean() == pytest.approx(0.3, abs=0.03)
    assert by_box.float().mean() == pytest.approx(0.3, abs=0.03)


def test_nothing_is_mixed_unless_asked_for() -> None:
    for mixing in (Mixing(0, 0, 1), Mixing(0.2, 0, 0)):
        assert not mixing.active
        assert mixing.draw(torch.Generator(), Epoch(10, 32, seed=0, number=0)) == {}


def test_images_and_labels_are_mixed_by_the_visible_area() -> None:
    images, others = torch.full((3, 3, 4, 4), 10.0), torch.full((3, 3, 4, 4), 20.0)
    box = torch.tensor([[0, 0, 0, 0], [1, 0, 3, 2], [0, 0, 4, 4]])
    drawn = {"partner": torch.tensor([1, 2, 0]), "weight": torch.tensor([0.7, 1.0, 1.0]), "box": box}
    mixed = Mixing(1, 1, 1).apply(torch.cat([images, others]), **drawn)
    torch.testing.assert_close(mixed[0], torch.full((3, 4, 4), 13.0))
    expected = torch.full((3, 4, 4), 10.0)
    expected[:, 1:3, 0:2] = 20
    assert torch.equal(mixed[1], expected)
    assert torch.equal(mixed[2], others[2])
    labels = mix_labels(torch.tensor([0, 1, 2, 1, 1, 0]), size=4, classes=3, **drawn)
    torch.testing.assert_close(labels, torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
