"""Find all images that cannot be read at once."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from cnnlab.cpu import available_cores
from cnnlab.data.findings import listed
from cnnlab.display import progress_bar
from cnnlab.errors import RequestError

if TYPE_CHECKING:
    from cnnlab.data.images import Images

PIECE = 10_000  # images that are tried at a time: each waits with an object of its own
Fault = tuple[str, str]  # an image, and why it cannot be read


class UnreadableImage(RequestError):
    """Report an image that cannot be read."""

    def __init__(self, fault: Fault):
        super().__init__("data: " + describe([fault], 1))
        self.fault = fault


def find_faults(images: "Images") -> dict[int, Fault]:
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


def refusal(*splits: "Images") -> RequestError:
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
