import pytest
import torch

from cnnlab.inference.corruptions import CORRUPTIONS, SEVERITIES, corrupt, warp


@pytest.fixture
def pixels() -> torch.Tensor:
    """Return patches with grain: a corruption moves them further from themselves the stronger it is."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.nn.functional.interpolate(torch.rand(8, 3, 5, 5, generator=generator), (40, 40), mode="bilinear")
    images = 0.8 * patches + 0.2 * torch.rand(8, 3, 40, 40, generator=generator)
    return (255 * images).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity_and_repeats_itself(pixels: torch.Tensor, name: str) -> None:
    distances = []
    for severity in range(1, SEVERITIES + 1):
        changed = corrupt(pixels, name, severity)
        assert changed.shape == pixels.shape and changed.dtype == torch.uint8
        assert torch.equal(changed, corrupt(pixels, name, severity))
        distances.append(float((changed.float() - pixels.float()).abs().mean()))
    assert distances[0] > 0 and distances[-1] > 1.1 * distances[0]
    rising = all(later > earlier for earlier, later in zip(distances, distances[1:], strict=False))
    assert rising or name == "pixelate"  # its squares may fall on the patches by chance


def test_what_is_random_differs_between_parts_and_severities(pixels: torch.Tensor) -> None:
    flat = torch.full_like(pixels, 128)
    first, other = (corrupt(flat, "gaussian_noise", 3, part) for part in (0, 1))
    assert not torch.equal(first, other)
    assert float(first.float().std()) == pytest.approx(255 * 0.6 * CORRUPTIONS["gaussian_noise"].strongest, rel=0.05)


def test_images_move_by_their_own_amounts() -> None:
    images = torch.zeros(2, 1, 8, 8)
    images[:, 0, 4, 4] = 1
    moved = warp(images, right=torch.tensor([0.5, 0.0]), down=torch.tensor([0.0, -0.25]))
    assert [tuple(image[0].nonzero()[0].tolist()) for image in moved] == [(4, 6), (3, 4)]
    small = warp(torch.ones(1, 1, 8, 8), scale=torch.tensor([0.5]))
    torch.testing.assert_close(small, torch.ones(1, 1, 8, 8))
