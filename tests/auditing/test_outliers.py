"""Test which images are told to be unlike the others."""

import numpy as np
import torch

from cnnlab.auditing.outliers import far_from_class, find_outliers
from cnnlab.auditing.survey import survey
from cnnlab.data.images import streamed_images
from cnnlab.data.sources import find_source
from tests.auditing.helpers import save


def test_unusual_images_are_found(class_folders):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    folder = class_folders / "train" / "cat"
    save(np.full((32, 32, 3), 77, np.uint8), folder / "z0.png")
    save(noise // 16, folder / "z1.png")
    save(255 - noise // 16, folder / "z2.png")
    save(noise[:7, :7], folder / "z3.png")
    save(noise[:9], folder / "z4.png")
    save(np.repeat(noise[..., :1], 3, 2), folder / "z5.png")
    found = survey(streamed_images(find_source(None, class_folders), 32))
    names = {kind: [found.names[place][-6:-4] for place in images] for kind, images in find_outliers(found).items()}
    expected = {"one colour": ["z0"], "dark": ["z1"], "bright": ["z2"], "small": ["z3"], "long": ["z4"], "grey": ["z5"]}
    assert names == expected


def test_in_grey_data_no_image_is_unusual_for_being_grey():
    found = survey(streamed_images(find_source("digits", None), 32))
    assert not any(find_outliers(found).values())


def test_an_image_whose_features_are_unlike_its_class_is_far():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 16, generator=generator) * 0.3
    labels = np.arange(60) % 2
    features[:, 0] += torch.from_numpy(np.where(labels, 3.0, -3.0))
    features[7, 0] = -3
    assert list(far_from_class(features, labels)) == [7]
    assert far_from_class(features[:6], labels[:6]) == {}
