import pytest
import torch
from torch import Tensor, nn

from cnnlab.inspection.attribution import agreement, class_activation, occlusion, spread_over_image
from cnnlab.inspection.receptive_field import ReceptiveField


def network() -> nn.Sequential:
    """Return a network with a red and a green channel: class 0 is red, class 1 green, and class 2 neither."""
    found = nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)
    )
    with torch.no_grad():
        found[0].weight.copy_(torch.eye(2, 3)[:, :, None, None])  # pyright: ignore
        found[4].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, -1]]))  # pyright: ignore
    return found.eval()


def red_and_green() -> Tensor:
    """Return an image that is red at the upper left and green at the lower right."""
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, :2, :2] = 1
    image[0, 1, 2:, 2:] = 1
    return image


def test_a_map_shows_where_the_class_is() -> None:
    maps = class_activation(network(), "1", red_and_green(), [1, 0, 2])
    assert maps.shape == (3, 4, 4)
    assert (maps[0] > 0).tolist() == (red_and_green()[0, 1] > 0).tolist()
    assert (maps[1] > 0).tolist() == (red_and_green()[0, 0] > 0).tolist()
    assert maps[2].max() == 0  # evidence against a class is left out


def test_frozen_networks_without_gradients_are_explained() -> None:
    frozen = network()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        assert class_activation(frozen, "1", red_and_green(), [0]).max() > 0


def test_values_are_placed_at_the_middle_of_their_fields() -> None:
    maps = torch.tensor([[[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]])
    field = ReceptiveField(size=(5, 5), start=(0, 0), step=(2, 2))  # middles at 2, 4 and 6
    spread = spread_over_image(maps, field, 12, 12)[0]
    assert spread.argmax() == 4 * 12 + 4
    torch.testing.assert_close(spread[4, :8], torch.tensor([0, 0, 0, 0.5, 1, 0.5, 0, 0]))


@pytest.mark.parametrize(
    "field", [None, ReceptiveField((9, 9), (-1, -1), (0, 0)), ReceptiveField((9, 9), (0, 0), (None, None))]
)
def test_maps_are_stretched_if_their_fields_are_unknown(field: ReceptiveField | None) -> None:
    maps = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.interpolate(maps[:, None], size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(spread_over_image(maps, field, 8, 8), expected)


def test_covering_shows_where_the_class_is() -> None:
    maps = occlusion(network(), red_and_green(), [0, 1])
    assert maps.shape == (2, 4, 4)
    red, green = red_and_green()[0, 0] > 0, red_and_green()[0, 1] > 0
    assert bool((maps[0][red] > 0).all()) and not maps[0][~red].any()
    torch.testing.assert_close(maps[1][green], torch.full((4,), 1 / 16))  # of the mean over 16 pixels, one is covered
    assert not maps[1][~green].any()


def test_maps_agree_if_they_put_the_pixels_in_the_same_order() -> None:
    values = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    assert agreement(values, values**3) == pytest.approx(1)
    assert agreement(values, -values) == pytest.approx(-1)
    assert agreement(values, torch.ones(6, 6)) is None
