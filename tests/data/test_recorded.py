"""Test that the test images of recorded runs are found, and not confused with others."""

import pytest
import torch

from cnnlab.data.images import load_images, streamed_images
from cnnlab.data.recorded import find_test_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


@pytest.fixture
def settings(class_folders, tmp_path):
    return {
        "source": None,
        "path": str(class_folders),
        "image_size": 32,
        "cache": str(tmp_path / "cache"),
        "classes": None,
    }


def test_decoded_images_are_read_from_their_cache(settings, sample):
    data = load_images(find_source(None, settings["path"]), 32, settings["cache"])
    found = find_test_images(settings, data.fingerprint)
    assert torch.equal(torch.from_numpy(found.read([7, 2])), sample.test.pixels[[7, 2]])
    assert found.classes == sample.classes
    with pytest.raises(RequestError, match="the images have changed"):
        find_test_images(settings, "another")


def test_streamed_images_are_read_from_their_files(settings, sample):
    data = streamed_images(find_source(None, settings["path"]), 32)
    found = find_test_images(settings, data.fingerprint)
    assert torch.equal(torch.from_numpy(found.read([7, 2])), sample.test.pixels[[7, 2]])


def test_missing_images_are_not_decoded_again(settings, tmp_path):
    with pytest.raises(RequestError, match="no longer in .*cache"):
        find_test_images(settings, "some")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(RequestError, match="does not exist"):
        find_test_images({**settings, "path": str(tmp_path / "gone")}, "some")
