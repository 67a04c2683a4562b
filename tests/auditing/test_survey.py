"""Test what a look at the images tells, for every kind of source."""

import numpy as np
import pytest
import torch

from cnnlab.auditing.survey import survey
from cnnlab.data.images import streamed_images
from cnnlab.data.sources import find_source
from tests.auditing.helpers import save


@pytest.mark.parametrize("place", ["class_folders", "parquet_folder", "batches_folder"])
def test_all_sources_show_the_same(request, sample, place):
    found = survey(streamed_images(find_source(None, request.getfixturevalue(place)), 32))
    assert np.array_equal(found.labels, torch.cat([sample.train.labels, sample.test.labels]))
    assert list(found.splits).count("train") == 120 and found.index[120:].tolist() == list(range(30))
    assert torch.equal(
        found.read(torch.tensor([125, 3]), 32), torch.stack([sample.test.pixels[5], sample.train.pixels[3]])
    )
    grey = sample.train.pixels[3].float() @ torch.tensor([0.299, 0.587, 0.114])
    assert found.numbers["brightness"][3] == pytest.approx(float(grey.mean()), abs=1)
    assert (found.numbers["width"] == 32).all() and len(set(found.digests)) == 150
    names = {"class_folders": "0003.png", "parquet_folder": "train/3", "batches_folder": "train/3"}
    assert found.names[3].endswith(names[place])


def test_unreadable_images_are_all_named_and_not_counted(class_folders):
    expected = []
    for split, name, content in (("train", "cat", b""), ("train", "ship", b"no image"), ("test", "dog", b"GIF89a")):
        file = sorted((class_folders / split / name).iterdir())[1]
        file.write_bytes(content)
        expected.append((split, str(file), name))
    found = survey(streamed_images(find_source(None, class_folders), 32))
    assert [(split, file, found.data.classes[label]) for split, file, label, _ in found.unreadable] == expected
    assert found.unreadable[0][3] == "it is empty"
    assert len(found) == 147 and (len(found.data.train), len(found.data.test)) == (118, 29)
    assert not {file for _, file, _ in expected} & set(found.names)


def test_a_plain_border_is_measured(class_folders):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    pixels[:5], pixels[:, -4:] = 255, 255
    save(pixels, class_folders / "train" / "cat" / "zz.png")
    found = survey(streamed_images(find_source(None, class_folders), 32))
    place = next(place for place, name in enumerate(found.names) if name.endswith("zz.png"))
    assert found.numbers["border"][place] == pytest.approx(1 - 0.9 * 0.9)
    assert found.numbers["border_brightness"][place] == 255
    assert found.forms[place] == "PNG RGB" and found.numbers["height"][place] == 50
