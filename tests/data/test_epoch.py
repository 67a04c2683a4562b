import pytest
import torch

from cnnlab.data.epoch import seeded_generator


def test_generators_differ_in_every_argument() -> None:
    numbers = {
        tuple(torch.randint(2**31, (4,), generator=seeded_generator(seed, epoch, stream)).tolist())
        for seed in range(6)
        for epoch in range(6)
        for stream in range(3)
    }
    assert len(numbers) == 6 * 6 * 3


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63 - 1])
def test_any_seed_is_accepted(seed: int) -> None:
    assert 0 <= torch.rand((), generator=seeded_generator(seed, 0, 0)) < 1
