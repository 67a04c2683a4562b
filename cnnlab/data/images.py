"""Turn the images of a source into tensors of one size.

Images are decoded once, for a cache that is checked, or each time they are asked for.
"""

import contextlib
import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.cache import DECODER, Notes, cache_folder, create_array, explained, read_cache, write_cache
from cnnlab.data.decoding import UnreadablePicture, decode, to_rgb_square, to_square
from cnnlab.data.exclusion import exclude_marked
from cnnlab.data.findings import Findings, listed
from cnnlab.data.sources.base import Items, RawImages, RawSplit, Source, plain_names
from cnnlab.display import progress_bar
from cnnlab.errors import RequestError
from cnnlab.waiting import tell

log = logging.getLogger(__name__)

OnError = Literal["stop", "skip"]
# Where images are during training. `device`: decoded, on the training device. `host`: decoded, in the host's memory,
# mapped from the cache's files. `stream`: in their own files, decoded by threads each time; no cache is written.
# `auto`: the first of these with enough room.
Placement = Literal["auto", "device", "host", "stream"]

PIECE = 10_000  # images that are tried at a time: each waits with an object of its own
Fault = tuple[str, str]  # an image, and why it cannot be read
TEST_SHARE = 1 / 6  # share of the images for the test if a source has no test images: CIFAR-10's proportion
SPLIT_SEED = 2009  # the same for every run, so that runs with different seeds keep the same images apart


class UnreadableImage(RequestError):
    """Report an image that cannot be read."""

    def __init__(self, fault: Fault):
        super().__init__("data: " + describe([fault], 1))
        self.fault = fault


@dataclass(frozen=True)
class Images:
    """Hold labelled images, which are read when they are asked for."""

    items: Items | Tensor  # of the source: encoded, or uint8 (M, H, W, C), which may be mapped from a file
    labels: Tensor  # class numbers, int64 (N,)
    rows: Tensor  # which of the items these images are, int64 (N,)
    size: int  # height and width that images are brought to, in pixels
    split: str = "train"  # of the source, for messages

    @classmethod
    def decoded(cls, pixels: Tensor, labels: Tensor, split: str = "train") -> "Images":
        """Return the images with these pixels, uint8 (N, size, size, 3), and class numbers, int64 (N,)."""
        return cls(pixels, labels, torch.arange(len(labels)), pixels.shape[1], split)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> Tensor:
        """Pixels of all images at once, uint8 (N, size, size, 3); use it for few images."""
        return self.read(torch.arange(len(self)))

    def take(self, indices: Tensor) -> "Images":
        """Return the images at these positions, in this order, without reading them."""
        return replace(self, labels=self.labels[indices], rows=self.rows[indices])

    def read(self, indices: Tensor) -> Tensor:
        """Return the pixels of the images at these positions, uint8 (B, size, size, 3).

        Raises:
            UnreadableImage: if an image cannot be read.
        """
        rows = self.rows[indices]
        if isinstance(self.items, Tensor):
            pixels = self.items[rows]
            return to_rgb_square(pixels.permute(0, 3, 1, 2), self.size).permute(0, 2, 3, 1).contiguous()
        pixels = torch.empty(len(rows), self.size, self.size, 3, dtype=torch.uint8)
        for place, row in enumerate(rows.tolist()):
            encoded = self.items[row]
            try:
                pixels[place] = to_square(decode(encoded), self.size)
            except UnreadablePicture as error:
                image = str(encoded) if isinstance(encoded, Path) else f"image {row} of the {self.split} split"
                raise UnreadableImage((image, str(error))) from None
        return pixels


@dataclass(frozen=True)
class ImageData:
    """Hold the training and test images of a data set.

    The fingerprint is a digest of all pixels and labels, 16 hexadecimal digits; of images that were not decoded,
    `files-` and 16 digits, of the files' names and sizes and of the labels.
    """

    train: Images  # in the source's order, as the test images
    test: Images
    classes: tuple[str, ...]  # names by class number
    fingerprint: str
    findings: Findings = Findings()  # where the images are, and what was left out
    validation: int = 0  # images for it at the end of the training images; 0 if the protocol chooses them


def load_images(
    source: Source, image_size: int, cache: str | Path | None = None, on_error: OnError = "stop"
) -> ImageData:
    """Return all images of a source as tensors, mapped into memory from the cache.

    The first call decodes the images and writes the cache. Later calls check it, and decode again if it is damaged.

    Args:
        source: from `cnnlab.data.sources.find_source`.
        image_size: height and width in pixels; the shorter side of other images is resized and their middle cut out.
        cache: folder for decoded images; see `cnnlab.data.cache.cache_folder`.
        on_error: `stop` refuses images that cannot be read, `skip` leaves them out.

    Raises:
        RequestError: if an image cannot be decoded or the source holds too few images.
    """
    folder = cache_folder(source, image_size, cache, on_error)
    tell("Reading the images")
    cached = read_cache(folder)
    if cached is None:
        if folder.exists():
            log.warning("The cache %s is damaged or of another version, so the images are decoded again.", folder)
        write_cache(folder, lambda temporary: _decode_all(source, image_size, on_error, temporary))
        cached = read_cache(folder)
    if cached is None:
        raise RuntimeError(f"the cache in {folder} was just written, but does not read back correctly")
    tensors = {name: torch.from_numpy(array) for name, array in cached.arrays.items()}
    train, test = (Images.decoded(tensors[f"{s}_pixels"], tensors[f"{s}_labels"], s) for s in ("train", "test"))
    return _with_notes(ImageData(train, test, cached.classes, cached.fingerprint, source.findings()), cached.notes)


def read_for(
    placement: Placement,
    source: Source,
    image_size: int,
    cache: str | Path | None,
    on_error: OnError,
    exclude: str | Path | None = None,
) -> ImageData:
    """Return the images of a source for a placement other than `auto`, without those marked in the table `exclude`.

    See `load_images`, `streamed_images` and `cnnlab.data.exclusion.exclude_marked`.
    """
    if placement == "stream":
        data = streamed_images(source, image_size, on_error)
    else:
        data = load_images(source, image_size, cache, on_error)
    return exclude_marked(data, source, exclude) if exclude else data


def streamed_images(source: Source, image_size: int, on_error: OnError = "stop") -> ImageData:
    """Return the same images, left in the source until they are asked for: nothing is cached now.

    With `skip`, all images are decoded once, to find those that cannot be read.

    Raises:
        RequestError: if the source holds too few images.
    """
    raw = source.read(lean=True)
    train, test, notes = _train_and_test(raw, image_size, on_error)
    classes = plain_names(raw.classes)
    digest = hashlib.sha256(f"{DECODER}|{classes}".encode())
    for name, size in source.files():
        digest.update(f"{name}|{size}\n".encode("utf-8", "surrogateescape"))
    for images in (train, test):
        digest.update(images.labels.numpy().tobytes())
        if notes.faults:
            digest.update(images.rows.numpy().tobytes())
    if notes.validation:
        digest.update(str(notes.validation).encode())
    fingerprint = f"files-{digest.hexdigest()[:16]}"
    return _with_notes(ImageData(train, test, classes, fingerprint, source.findings()), notes)


def _with_notes(data: ImageData, notes: Notes) -> ImageData:
    """Add to images what only a look at them tells."""
    findings, faults = data.findings, notes.faults
    if faults:
        log.info("Left out: %s.", describe(faults, len(data.train) + len(data.test) + len(faults)))
        findings = replace(findings, ignored={**findings.ignored, "damaged images": len(faults)})
    return replace(data, findings=findings, validation=notes.validation)


def _train_and_test(raw: RawImages, size: int, on_error: OnError) -> tuple[Images, Images, Notes]:
    """Return training and test images, none of them decoded, and notes. Without test images, a share is taken."""
    if len(raw.classes) < 2:
        raise RequestError(f"data: at least two classes are needed, found {len(raw.classes)}: {', '.join(raw.classes)}")
    train = _stored(raw.train, "train", len(raw.classes), size)
    if raw.test is not None:
        test = _stored(raw.test, "test", len(raw.classes), size)
    else:
        stay, away = stratified_split(train.labels, TEST_SHARE)
        train, test = train.take(stay), train.take(away)
    notes = Notes(raw.validation)
    if on_error == "skip":
        before = len(train) - raw.validation  # these come first
        found = [find_faults(images) for images in (train, test)]
        faults = [fault for faults in found for fault in faults.values()]
        notes = Notes(raw.validation - sum(position >= before for position in found[0]), faults)
        classes = set(train.labels.tolist())
        sound = [
            [i for i in range(len(images)) if i not in bad] for images, bad in zip((train, test), found, strict=True)
        ]
        train, test = train.take(torch.tensor(sound[0]).long()), test.take(torch.tensor(sound[1]).long())
        if lost := classes - set(train.labels.tolist()):
            raise RequestError(f"data: no image of {raw.classes[min(lost)]} can be read: {describe(faults, 1)}")
    for name, images in (("train", train), ("test", test)):
        if not len(images):
            total = f"{len(raw.train.labels):,} images in {len(raw.classes):,} classes"
            raise RequestError(f"data: too few images: of {total}, none is left for the {name} split")
    return train, test, notes


def _stored(raw: RawSplit, name: str, classes: int, size: int) -> Images:
    labels = torch.from_numpy(raw.labels)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise RequestError(f"data: the {name} labels must be class numbers from 0 to {classes - 1}")
    items = torch.from_numpy(raw.images) if isinstance(raw.images, np.ndarray) else raw.images
    return Images(items, labels, torch.arange(len(labels)), size, name)


def _decode_all(source: Source, image_size: int, on_error: OnError, folder: Path) -> tuple[tuple[str, ...], Notes]:
    """Write pixels and labels of both splits, and return the names of the classes and notes."""
    raw = source.read()
    train, test, notes = _train_and_test(raw, image_size, on_error)
    log.info("Decoding the images (only once: they are kept in %s).", folder.parent)
    with explained(folder.parent), contextlib.ExitStack() as stack:
        files = []
        for name, images in (("train", train), ("test", test)):  # take the space for all before the work
            shape = (len(images), image_size, image_size, 3)
            for part, dtype, size in (("pixels", np.uint8, shape), ("labels", np.int64, shape[:1])):
                files.append(stack.enter_context(create_array(folder / f"{name}_{part}.npy", dtype, size)))
        bar = stack.enter_context(progress_bar(len(train) + len(test), "decoding"))
        for images, pixels, labels in ((train, *files[:2]), (test, *files[2:])):
            labels.write(images.labels.numpy())
            for positions in torch.arange(len(images)).split(100):  # all pixels may not fit into memory
                try:
                    pixels.write(images.read(positions).contiguous().numpy())
                except UnreadableImage:
                    raise refusal(train, test) from None
                bar.update(len(positions))
    return raw.classes, notes


def stratified_split(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Split off a share of every class by a fixed seed. At least one image of each class stays.

    Of classes so small that the share of each is rounded to none, some give one image, so that their common share is
    kept; at least one does if no other class gives any.

    Args:
        labels: class numbers (N,).
        share: share of each class to split off, in (0, 1), rounded to whole images.

    Returns:
        Positions of the images that stay, and of those split off, both ascending.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    taken = torch.tensor([max(0, min(round(share * size), size - 1)) for size in sizes.tolist()], dtype=torch.int64)
    small = ((taken == 0) & (sizes > 1)).nonzero().flatten()
    wanted = max(round(share * int(sizes[small].sum())), int(not taken.any()))
    order = torch.randperm(len(small), generator=torch.Generator().manual_seed(SPLIT_SEED))
    taken[small[order[:wanted]]] = 1
    away = torch.zeros(len(labels), dtype=torch.bool)
    for members, number in zip(by_class.split(sizes.tolist()), taken.tolist(), strict=True):
        away[members[:number]] = True
    positions = torch.arange(len(labels))
    return positions[~away], positions[away]


def find_faults(images: Images) -> dict[int, Fault]:
    """Try to read all images, with a thread for each core, and return what is wrong, by the image's position."""

    def try_to_read(position: int) -> Fault | None:
        try:
            images.read(torch.tensor([position]))
        except UnreadableImage as error:
            return error.fault
        return None

    faults: dict[int, Fault] = {}
    with ThreadPoolExecutor(available_cores()) as pool, progress_bar(len(images), "trying to read") as bar:
        for piece in torch.arange(len(images)).split(PIECE):
            found = zip(piece.tolist(), pool.map(try_to_read, piece.tolist()), strict=True)
            for position, fault in found:
                bar.update()
                if fault:
                    faults[position] = fault
    return faults


def refusal(*splits: Images) -> RequestError:
    """Return the error that names all images that cannot be read, after one was met."""
    faults = [fault for images in splits for fault in find_faults(images).values()]
    return RequestError(f"data: {describe(faults, sum(map(len, splits)))}; data.on_error=skip leaves them out")


def describe(faults: Sequence[Fault], total: int) -> str:
    """Return `3 of 5,400 images cannot be read: ...`, with the images by reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for image, reason in faults:
        by_reason[reason].append(image)
    texts = [f"{listed(names, 10)}: {reason}" for reason, names in by_reason.items()]
    counts = f"{len(faults):,} of {total:,} images cannot be read: " if total > 1 else ""
    return counts + "; ".join(texts[:10]) + (f"; and {len(texts) - 10} other reasons" if len(texts) > 10 else "")
