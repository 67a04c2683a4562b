import pytest
import torch
from torch import Tensor, nn

from cnnlab.training.tta import Tta, tta_logits


class FirstRow(nn.Module):
    """Return the first row of pixels as logits, to tell views apart."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0]


IMAGE = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]])[None, None]


@pytest.mark.parametrize(
    ("tta", "expected"),
    [
        ("none", [1.0, 2.0, 4.0]),
        ("flip", [2.5, 2.0, 2.5]),
        # Moved down and right, the first row is the reflected 16, 8, 16; moved up and left it is 16, 32, 16.
        ("flip_translate", [2.5 / 2 + 16 / 2, 2.0 / 2 + (8 + 32) / 4, 2.5 / 2 + 16 / 2]),
    ],
)
def test_logits_are_the_mean_over_the_views(tta: Tta, expected: list[float]) -> None:
    assert tta_logits(FirstRow(), IMAGE, tta).tolist() == [expected]


def test_views_have_the_layout_of_the_images_and_their_mean_is_in_float32() -> None:
    strides = []

    class HalfPrecision(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            strides.append(images.stride())
            return images[:, 0, 0].bfloat16()

    images = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert tta_logits(HalfPrecision(), images, "flip_translate").dtype == torch.float32
    assert set(strides) == {images.stride()}


def test_outputs_are_copied_before_the_network_overwrites_them() -> None:
    class Reusing(nn.Module):
        result = torch.empty(1, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.result.copy_(images[:, 0, 0])

    assert tta_logits(Reusing(), IMAGE, "flip").tolist() == [[2.5, 2.0, 2.5]]


def test_only_the_unsure_quarter_of_the_images_is_changed() -> None:
    images = torch.zeros(5, 1, 3, 3)
    images[:, 0, 0] = torch.tensor([[9.0, 0, 0], [5, 4, 0], [0, 8, 1], [0, 3, 2], [7, 0, 1]])  # gaps: 9, 1, 7, 1, 6
    images[:, 0, 1] = 1
    logits, changed = tta_logits(FirstRow(), images, "unsure"), tta_logits(FirstRow(), images, "flip_translate")
    unsure = torch.tensor([False, True, False, True, False])  # 5 / 4, rounded up
    assert torch.equal(logits[unsure], changed[unsure])
    assert torch.equal(logits[~unsure], images[~unsure, 0, 0])
