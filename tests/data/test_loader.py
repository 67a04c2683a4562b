from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.augmentations.mixing import Mixing
from cnnlab.data.epoch import Epoch
from cnnlab.data.images import ImageData, Images, load_images
from cnnlab.data.loader import Loader
from cnnlab.data.sources import FolderSource

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
PLAIN = Augmentation(pad=3, flip="random", cutout=8)
CHANGES = {"policy": "trivial", "rotation": 10.0, "scale": 0.1, "shear": 5.0, "contrast": 0.2, "hue": 0.1, "grey": 0.1}
EVERYTHING = Augmentation(pad=3, flip="random", cutout=8, erasing=0.5, mixup=0.5, cutmix=1.0, **CHANGES)  # pyright: ignore
Batches = list[tuple[Tensor, Tensor]]


def make_loader(images: Images, batch_size: int = 25, **options: Any) -> Loader:
    classes = int(images.labels.max()) + 1
    return Loader(images, batch_size, MEAN, STD, **{"shuffle": True, "classes": classes, **options})


def epoch_of(loader: Loader, epoch: int = 0) -> Batches:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(batches: Batches, expected: Batches) -> None:
    assert len(batches) == len(expected)
    for (images, labels), (wanted_images, wanted_labels) in zip(batches, expected, strict=True):
        assert torch.equal(images, wanted_images)
        assert torch.equal(labels, wanted_labels)


def numbered(count: int) -> Images:
    """Return images whose labels are their positions."""
    generator = torch.Generator().manual_seed(0)
    return Images.decoded(
        torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=generator), torch.arange(count)
    )


def order(loader: Loader, epoch: int = 0) -> list[int]:
    return torch.cat([labels for _, labels in epoch_of(loader, epoch)]).tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 25, 100, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_image_comes_exactly_once_per_epoch(batch_size: int, shuffle: bool) -> None:
    loader = make_loader(numbered(100), batch_size, shuffle=shuffle, augmentation=PLAIN)
    for epoch in range(2):
        positions = order(loader, epoch)
        assert sorted(positions) == list(range(100))
        assert (positions == list(range(100))) is not shuffle
        assert len(list(loader)) == len(loader)


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    images = numbered(100)
    loader = make_loader(images, seed=1)
    orders = [order(loader, epoch) for epoch in range(3)] + [order(make_loader(images, seed=2))]
    assert len({tuple(one) for one in orders}) == 4


def test_batches_depend_only_on_seed_and_epoch(sample: ImageData) -> None:
    first = make_loader(sample.train, augmentation=EVERYTHING, seed=3)
    batches = [epoch_of(first, epoch) for epoch in range(2)]
    torch.manual_seed(99)
    second = make_loader(sample.train, augmentation=EVERYTHING, seed=3)
    assert_equal(epoch_of(second, 1), batches[1])  # without the epoch before
    assert_equal(epoch_of(second, 0), batches[0])


def test_loader_leaves_the_random_state_alone(sample: ImageData) -> None:
    before = torch.get_rng_state()
    epoch_of(make_loader(sample.train, augmentation=EVERYTHING))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_from_a_fresh_cache_and_from_an_old_one_are_the_same(class_folders: Any, tmp_path: Any) -> None:
    decoded, cached = (load_images(FolderSource(class_folders), 32, tmp_path / "own_cache") for _ in range(2))
    assert_equal(
        epoch_of(make_loader(cached.train, augmentation=EVERYTHING)),
        epoch_of(make_loader(decoded.train, augmentation=EVERYTHING)),
    )


@pytest.mark.parametrize("flip", ["random", "alternating"])
def test_decisions_for_an_image_do_not_depend_on_the_batch_size(sample: ImageData, flip: Any) -> None:
    augmentation = Augmentation(pad=3, flip=flip, cutout=8, erasing=0.5, mixup=0.5, cutmix=1.0)
    wholes = []
    for batch_size in (1, 17, 120):
        batches = epoch_of(make_loader(sample.train, batch_size, augmentation=augmentation), 1)
        wholes.append([torch.cat(part) for part in zip(*batches, strict=True)])
    for images, labels in wholes[1:]:
        assert torch.equal(images, wholes[0][0])
        assert torch.equal(labels, wholes[0][1])


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batches_of_one_process(sample: ImageData, world_size: int) -> None:
    whole = epoch_of(make_loader(sample.train, augmentation=EVERYTHING), 2)
    shares = [
        epoch_of(make_loader(sample.train, augmentation=EVERYTHING, rank=rank, world_size=world_size), 2)
        for rank in range(world_size)
    ]
    joined = [
        (torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))
        for parts in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)
    sizes = [len(labels) for parts in zip(*shares, strict=True) for _, labels in parts]
    assert max(sizes[:world_size]) - min(sizes[:world_size]) <= 1


def test_batch_smaller_than_the_number_of_processes_is_refused(sample: ImageData) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least the number of devices, 4, got 3"):
        make_loader(sample.train, batch_size=3, world_size=4)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        pytest.param(7, [7] * 16 + [8], id="one image"),
        pytest.param(39, [39, 39, 42], id="less than an eighth"),
        pytest.param(16, [16] * 7 + [8], id="half a batch stays"),
        pytest.param(59, [59, 61], id="of two batches"),
    ],
)
def test_a_few_images_left_over_join_the_batch_before(batch_size: int, world_size: int, sizes: list[int]) -> None:
    """Check it for any number of processes."""
    loaders = [make_loader(numbered(120), batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    given = [loaders[0].batch_images for _ in zip(*loaders, strict=True)]
    assert given == sizes
    assert len(loaders[0]) == len(sizes)
    assert sorted(place for loader in loaders for place in order(loader)) == list(range(120))


def test_images_left_over_stay_apart_without_shuffling() -> None:
    assert len(make_loader(numbered(120), 17, shuffle=False)) == 8  # such batches do not train


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_resumed_epoch_continues_exactly_where_it_stopped(sample: ImageData, done: int) -> None:
    loader = make_loader(sample.train, augmentation=EVERYTHING)
    whole, following = epoch_of(loader, 4), epoch_of(loader, 5)
    loader.sampler.set_epoch(4)
    iterator = iter(loader)
    for _ in range(done):
        next(iterator)
    state = loader.state_dict() if done else {"epoch": 4, "batches_done": 0}

    resumed = make_loader(sample.train, augmentation=EVERYTHING)
    resumed.load_state_dict(state)
    assert_equal(epoch_of(resumed, 4), whole[done:])
    assert_equal(epoch_of(resumed, 5), following)
    assert_equal(epoch_of(resumed, 4), whole)


def test_state_of_another_epoch_skips_nothing(sample: ImageData) -> None:
    loader = make_loader(sample.train)
    loader.load_state_dict({"epoch": 3, "batches_done": 2})
    assert len(epoch_of(loader, 4)) == len(loader)


def test_the_state_holds_epoch_and_batches(sample: ImageData) -> None:
    loader = make_loader(sample.train)
    loader.sampler.set_epoch(2)
    next(iter(loader))
    assert loader.state_dict() == {"epoch": 2, "batches_done": 1}


def test_normalization_follows_the_formula(sample: ImageData) -> None:
    loader = make_loader(sample.train, shuffle=False)
    images = torch.cat([images for images, _ in loader])
    expected = (sample.train.pixels.double() / 255 - MEAN) / STD
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected.permute(0, 3, 1, 2).float(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("augmentation", [None, EVERYTHING])
def test_batches_have_the_channels_last_layout(sample: ImageData, augmentation: Augmentation | None) -> None:
    images, labels = next(iter(make_loader(sample.train, augmentation=augmentation)))
    assert images.shape == (25, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == (torch.float32 if augmentation else torch.int64)


def test_images_are_mixed_with_partners_as_augmented_in_the_same_epoch(sample: ImageData) -> None:
    """A partner has its own crop and flip, even if it is in another batch."""
    crops = Augmentation(pad=2, flip="random")
    plain = epoch_of(make_loader(sample.train, 120, shuffle=False, augmentation=crops), 1)[0]
    mixup = Augmentation(pad=2, flip="random", mixup=1.0)
    batches = epoch_of(make_loader(sample.train, 10, shuffle=False, augmentation=mixup), 1)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    mixing = mixup.draw(Epoch(120, 32, seed=0, number=1))[Mixing]
    weight = mixing["weight"][:, None, None, None]
    expected = weight * plain[0] + (1 - weight) * plain[0][mixing["partner"]]
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(labels.sum(1), torch.ones(120))
    for probabilities, own, other, share in zip(
        labels, sample.train.labels, sample.train.labels[mixing["partner"]], mixing["weight"], strict=True
    ):
        assert float(probabilities[own]) == pytest.approx(1 if own == other else float(share), abs=1e-6)


def test_augmented_images_are_windows_of_the_padded_ones(sample: ImageData) -> None:
    images = sample.train.take(torch.arange(10))
    loader = make_loader(images, batch_size=10, augmentation=Augmentation(pad=2, flip="random"), shuffle=False)
    batch, _ = epoch_of(loader)[0]
    padded = torch.nn.functional.pad(images.pixels.permute(0, 3, 1, 2).float(), [2] * 4, mode="reflect")
    normalized = (padded / 255 - MEAN[:, None, None]) / STD[:, None, None]
    for image, source in zip(batch, normalized, strict=True):
        windows = source.unfold(1, 32, 1).unfold(2, 32, 1).flatten(1, 2).transpose(0, 1)
        candidates = torch.cat([windows, windows.flip(-1)])
        assert (candidates - image).abs().flatten(1).max(dim=1).values.min() < 1e-5


def test_cutout_sets_the_mean_colour(sample: ImageData) -> None:
    batch, _ = next(iter(make_loader(sample.train, augmentation=Augmentation(cutout=8))))
    blanked = (batch == 0).all(dim=1).flatten(1).sum(dim=1)
    assert blanked.min() >= 16  # in a corner, a quarter of the square is inside
    assert blanked.max() == 64


def test_source_images_are_not_changed(sample: ImageData) -> None:
    before = sample.train.pixels.clone()
    epoch_of(make_loader(sample.train, augmentation=EVERYTHING))
    epoch_of(make_loader(sample.train))
    assert torch.equal(sample.train.pixels, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_do_not_depend_on_the_device(sample: ImageData) -> None:
    expected = epoch_of(make_loader(sample.train, augmentation=EVERYTHING))
    batches = epoch_of(make_loader(sample.train, augmentation=EVERYTHING, device="cuda"))
    for (images, labels), (wanted_images, wanted_labels) in zip(batches, expected, strict=True):
        assert images.is_cuda
        torch.testing.assert_close(images.cpu(), wanted_images, rtol=1e-5, atol=1e-5)
        assert torch.equal(labels.cpu(), wanted_labels)


def test_images_have_the_size_of_the_epoch() -> None:
    loader = make_loader(numbered(50), augmentation=Augmentation(pad=1, sizes=[[0, 6], [2, 8]]))
    plain = make_loader(numbered(50), augmentation=Augmentation(pad=1))
    assert [{images.shape[-2:] for images, _ in epoch_of(loader, epoch)} for epoch in range(3)] == [
        {(6, 6)},
        {(6, 6)},
        {(8, 8)},
    ]
    assert_equal(epoch_of(loader, 2), epoch_of(plain, 2))


def uneven(*counts: int) -> Images:
    """Return images of as many per class, each of one colour of its own."""
    pixels = torch.arange(sum(counts), dtype=torch.uint8)[:, None, None, None].expand(-1, 8, 8, 3)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Images.decoded(pixels.contiguous(), labels)


def taken(loader: Loader, epoch: int = 0) -> tuple[list[int], list[int]]:
    """Return the colour and the label of each image of an epoch."""
    images, labels = (torch.cat(parts) for parts in zip(*epoch_of(loader, epoch), strict=True))
    return ((images[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255).round().int().tolist(), labels.tolist()


def test_balanced_classes_come_equally_often_and_their_images_in_turn() -> None:
    data = uneven(40, 20, 8, 0, 2)
    loader = make_loader(data, 10, balanced=True)
    often = torch.zeros(5)
    for epoch in range(20):
        colours, labels = taken(loader, epoch)
        assert data.labels[colours].tolist() == labels
        counts = torch.tensor(labels).bincount(minlength=5)
        assert len(labels) == 70
        assert sorted(counts.tolist()) == [0, 17, 17, 18, 18]
        often += counts
        times = torch.tensor(colours).bincount(minlength=70)
        assert times[:40].max() == 1
        assert set(times[60:68].tolist()) == {2, 3}
    assert often[often > 0].max() - often[often > 0].min() < 20  # which classes get the places left over is drawn
    assert taken(loader, 0) != taken(loader, 1)


def test_an_image_that_comes_again_is_augmented_anew() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (41, 8, 8, 3), dtype=torch.uint8, generator=generator)
    data = Images.decoded(pixels, torch.tensor([0] * 40 + [1]))
    batches = epoch_of(make_loader(data, balanced=True, augmentation=Augmentation(pad=3, flip="random")))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(images[labels == 1].unique(dim=0)) > 10  # of 20 or 21


def test_balanced_batches_depend_only_on_seed_and_epoch_and_not_on_the_processes() -> None:
    data = uneven(40, 20, 8)
    options: dict[str, Any] = {"balanced": True, "augmentation": EVERYTHING, "seed": 3}
    whole = epoch_of(make_loader(data, **options), 2)
    assert_equal(epoch_of(make_loader(data, **options), 2), whole)
    shares = [epoch_of(make_loader(data, rank=rank, world_size=2, **options), 2) for rank in range(2)]
    for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert_equal([batch], [(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))])
    resumed = make_loader(data, **options)
    resumed.load_state_dict({"epoch": 2, "batches_done": 1})
    assert_equal(epoch_of(resumed, 2), whole[1:])
    assert_equal(epoch_of(make_loader(data, **options, placement="host"), 2), whole)
