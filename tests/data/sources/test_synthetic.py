import numpy as np

from cnnlab.data.sources import find_source


def test_synthetic_images_have_the_form_of_cifar10_and_are_always_the_same() -> None:
    one, other = (find_source("synthetic", None).read() for _ in range(2))
    assert one.test is not None
    assert isinstance(one.train.images, np.ndarray) and isinstance(one.test.images, np.ndarray)
    assert (one.train.images.shape, one.test.images.shape) == ((50_000, 32, 32, 3), (10_000, 32, 32, 3))
    assert np.bincount(one.train.labels).tolist() == [5000] * 10
    assert not np.array_equal(one.train.images[:10_000], one.test.images)
    assert isinstance(other.train.images, np.ndarray) and np.array_equal(one.train.images, other.train.images)
