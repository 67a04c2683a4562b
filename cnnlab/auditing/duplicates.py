"""Find images that occur twice: with the same pixels, or shifted, mirrored, recoloured or compressed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.auditing.survey import GREY, Survey
from cnnlab.display import progress_bar

# Calibrated on CIFAR-10, see docs/audit.md.
COARSE, FINE = 0.88, 0.8  # least correlation of candidates at 8 x 8 and at 16 x 16 pixels
SIMILAR = 0.9  # least cosine of the features of candidates
MOST = 8  # candidates of an image
ROWS, COLUMNS, PAIRS = 1024, 8192, 512  # images and pairs that are compared at a time
FEWEST_PIXELS = 16  # a side: smaller images have too little detail to tell near-duplicates from similar images
MOST_PIXELS = 64  # a side, at which candidates are compared
SHIFT = 0.1  # largest shift between duplicates, as a share of the side; so much is also cut off, for frames
DETAIL = 5 / 32  # side of the blur whose result is subtracted, as a share of the side


@dataclass(frozen=True)
class Pair:
    """Hold two images that show the same, by their positions; the second is not before the first."""

    first: int
    second: int
    score: float  # 1 if all pixels are equal, else the correlation of their details


def exact_groups(found: Survey) -> list[np.ndarray]:
    """Return the positions of images with equal pixels, for each group of two or more."""
    order = found.digests.argsort(kind="stable")
    ends = (found.digests[order][1:] != found.digests[order][:-1]).nonzero()[0] + 1
    groups = [group for group in np.split(order, ends) if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def near_pairs(found: Survey, threshold: float, features: Tensor | None = None) -> list[Pair]:
    """Return pairs of near-duplicates, the most similar first; of images with equal pixels, only the first takes part.

    Candidates correlate at 8 x 8 and 16 x 16 grey pixels, as they are or mirrored, or have similar features. Of these,
    fine details are compared at up to 64 x 64 pixels, over small shifts. The time for the candidates is quadratic in
    the number of images, the memory linear.

    Args:
        threshold: least correlation of the details, in (0, 1].
        features: features of all images by a network, float32 (N, F), or None.
    """
    side = int(min(MOST_PIXELS, np.median(np.minimum(found.numbers["width"], found.numbers["height"]))))
    if side < FEWEST_PIXELS or len(found) < 2:
        return []
    _, distinct = np.unique(found.digests, return_index=True)
    chosen = torch.from_numpy(np.sort(distinct))
    chosen = chosen[torch.from_numpy(found.numbers["range"] > 0)[chosen]]
    pairs: set[tuple[int, int, bool]] = set()
    looks = {False: found.small[chosen], True: found.small[chosen].flip(-1)}
    searches = 2 if features is None else 3
    with progress_bar(searches * len(chosen), "comparing the images") as bar:
        for mirrored, others in looks.items():
            for one, other in _candidates(_grey(looks[False], 8), _grey(others, 8), COARSE, bar.update):
                close = (_grey(looks[False][one]) * _grey(others[other])).sum(1) > FINE
                pairs |= _named(chosen, one[close], other[close], mirrored)
        if features is not None:
            unit = nn.functional.normalize(features[chosen])
            for one, other in _candidates(unit, unit, SIMILAR, bar.update):
                pairs |= _named(chosen, one, other, False)
    return _verified(sorted(pairs), found, side, threshold)


def _named(chosen: Tensor, one: Tensor, other: Tensor, mirrored: bool) -> set[tuple[int, int, bool]]:
    """Return pairs of positions among all images, from positions among the chosen ones."""
    return {(*pair, mirrored) for pair in zip(chosen[one].tolist(), chosen[other].tolist(), strict=True)}


def _grey(small: Tensor, side: int | None = None) -> Tensor:
    """Return grey copies, uint8 (N, S, S), as rows of mean 0 and length 1, float32 (N, side * side)."""
    values = small.float()
    if side:
        values = nn.functional.adaptive_avg_pool2d(values[:, None], side)
    return _standardized(values.flatten(1))


def _standardized(rows: Tensor) -> Tensor:
    return nn.functional.normalize(rows - rows.mean(1, keepdim=True), eps=1e-3)


def _candidates(
    these: Tensor, those: Tensor, least: float, progress: Callable[[int], object]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield positions of rows whose dot product is above `least`, the second after the first.

    Of those of one row, the `MOST` largest are kept.
    """
    for start in range(0, len(these), ROWS):
        rows, found = these[start : start + ROWS], []
        for begin in range(start, len(those), COLUMNS):
            products = rows @ those[begin : begin + COLUMNS].T
            if begin == start:
                products.masked_fill_(torch.ones_like(products, dtype=torch.bool).tril_(), -1)
            above = (products.amax(1) > least).nonzero().flatten()  # of most rows, none is
            values, places = products[above].topk(min(MOST, products.shape[1]), dim=1)
            kept = values > least
            found.append((values[kept], above.repeat_interleave(kept.sum(1)), places[kept] + begin))
        values, one, other = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = values.argsort(descending=True)
        order = order[one[order].argsort(stable=True)]  # by row, and the largest first
        one, other = one[order], other[order]
        kept = torch.arange(len(one)) - torch.searchsorted(one, one) < MOST
        yield one[kept] + start, other[kept]
        progress(len(rows))


def _verified(pairs: list[tuple[int, int, bool]], found: Survey, side: int, threshold: float) -> list[Pair]:
    """Return the pairs whose details agree, the most similar first."""
    scores: dict[tuple[int, int], float] = {}
    with progress_bar(len(pairs), "comparing details") as bar:
        for start in range(0, len(pairs), PAIRS):
            one, other, mirrored = zip(*pairs[start : start + PAIRS], strict=True)
            first, second = (_grey_pixels(found.read(torch.tensor(places), side)) for places in (one, other))
            flipped = torch.tensor(mirrored)[:, None, None]
            agreement = correlate_details(first, torch.where(flipped, second.flip(-1), second))
            for a, b, score in zip(one, other, agreement.tolist(), strict=True):
                scores[a, b] = max(score, scores.get((a, b), 0.0))
            bar.update(len(one))
    good = [Pair(*pair, score) for pair, score in scores.items() if score >= threshold]
    return sorted(good, key=lambda pair: (-pair.score, pair.first, pair.second))


def _grey_pixels(pixels: Tensor) -> Tensor:
    return pixels.float() @ GREY


def correlate_details(first: Tensor, second: Tensor) -> Tensor:
    """Return how well the details of grey images agree, float32 (B,), at the best of some small shifts.

    Details are what a blur removes. Large differences count little more than small ones, so that no single bright edge
    decides. Many different images share a horizon or a frame: so lines across the whole image are subtracted, and the
    outermost tenth of each side is left out.

    Args:
        first: grey images, float32 (B, S, S).
        second: grey images of the same shape.
    """
    side = first.shape[-1]
    blur, margin, reach = 2 * max(1, round(DETAIL * side / 2 - 0.5)) + 1, round(SHIFT * side), max(1, int(SHIFT * side))
    details = []
    for grey in (first, second):
        padded = nn.functional.pad(grey[:, None], (blur // 2,) * 4, mode="reflect")
        fine = (grey - nn.functional.avg_pool2d(padded, blur, 1)[:, 0])[
            :, margin : side - margin, margin : side - margin
        ]
        fine = fine - fine.mean(1, keepdim=True) - fine.mean(2, keepdim=True)
        fine = fine / (fine.abs() + fine.square().mean((1, 2), keepdim=True).sqrt() + 1)
        details.append(_standardized(fine.flatten(1)).view_as(fine))
    room = [2 * details[0].shape[-1]] * 2  # so that what is shifted out does not come in at the other side
    one, other = (torch.fft.rfft2(fine, s=room) for fine in details)
    agreement = torch.fft.irfft2(one * other.conj(), s=room)
    shifts = list(range(-reach, reach + 1))
    return agreement[:, shifts][:, :, shifts].amax((1, 2))
