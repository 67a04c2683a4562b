import numpy as np
import pytest

from cnnlab.comparison.power import seeds_needed, smallest_difference
from cnnlab.comparison.statistics import Noise, joint

IMAGES = 400


@pytest.mark.parametrize(("runs", "power"), [((4, 4), 0.8), ((10, 10), 0.95), ((4, 8), 0.8)])
def test_the_smallest_difference_is_found_as_often_as_it_says(runs, power):
    random = np.random.default_rng(0)
    spread, effect = 0.02, 0.1
    # Of a run's accuracy: its seed, and single predictions, with a chance of 0.7 on average.
    single = (0.7 * 0.3 - effect**2) / IMAGES
    noise = Noise(np.full(2, spread**2 + single), 2 * effect**2 / IMAGES, IMAGES)
    difference = smallest_difference(noise, runs, power)
    found, repetitions = 0, 500
    for _ in range(repetitions):
        groups = []
        for count, mean in zip(runs, (0.7 + difference, 0.7), strict=True):
            chance = mean + random.normal(0, effect, IMAGES) + random.normal(0, spread, (count, 1))
            right = random.random((count, IMAGES)) < chance
            groups += [right.mean(axis=1).tolist(), right.sum(axis=0)]
        test = joint(*groups)
        found += test is not None and test.p < 0.05
    assert found / repetitions == pytest.approx(power, abs=0.06)


def test_the_seeds_needed_are_the_fewest_that_show_the_difference():
    noise = Noise(np.array([0.004, 0.006]) ** 2, 1e-6, 10_000)
    seeds = seeds_needed(noise, 0.005, 0.8)
    assert seeds
    assert smallest_difference(noise, (seeds, seeds), 0.8) <= 0.005
    assert smallest_difference(noise, (seeds - 1, seeds - 1), 0.8) > 0.005
    more = seeds_needed(noise, 0.005, 0.95)
    assert more and more > seeds
    assert seeds_needed(noise, 0.1, 0.8) == 2


def test_without_noise_over_images_it_is_the_power_of_a_t_test():
    # Cohen 1988, table 2.4.1: 64 of each group show half a standard deviation with a power of 80 %.
    assert seeds_needed(Noise(np.ones(2), 0.0, 10_000), 0.5, 0.8) == 64


def test_too_few_images_are_not_made_up_for_by_seeds():
    assert seeds_needed(Noise(np.full(2, 1e-6), 0.003**2, 1000), 0.005, 0.8) is None
