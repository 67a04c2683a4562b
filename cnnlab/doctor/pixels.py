"""Recognize images that are not what a network needs: not normalized, broken, or changed into others."""

from collections.abc import Callable

import torch
from torch import Tensor

from cnnlab.doctor.answers import audit_command, guesses, guesses_if_changed, seen
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, Where, sure
from cnnlab.doctor.rate import CLEARLY, LEARNED

# Values of a network's inputs. First weights are drawn for a deviation of 1; constants of another data set, or those
# that bring pixels to [-1, 1], give 0.5 to 2.
LEAST_SPREAD, MOST_SPREAD, MOST_OFFSET = 0.35, 3.0, 1.5
FAR = 8.0  # factor from a deviation of 1 that no choice of constants explains
BROKEN = 0.02  # share of the images that may be constant or the same by chance; photographs have next to none
# The symmetries of a square, with their names.
TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda images: images.flip(-1),
    "upside down": lambda images: images.flip(-2),
    "turned by half": lambda images: images.flip(-1, -2),
    "turned to the left": lambda images: images.rot90(1, (-2, -1)),
    "turned to the right": lambda images: images.rot90(-1, (-2, -1)),
}
# An augmented image counts as turned if it is like its turned original (correlation above ALIKE), and less so like the
# original itself (by APART). Mixed and strongly distorted images look turned by chance in up to 4 % of all cases.
ALIKE, APART = 0.75, 0.1
SEEN = 0.15  # share of the augmented images that are turned in some way
KNOWN = 0.5  # accuracy above which the simple classifier can tell whether an image still shows its class
LOST = 0.75  # share of this accuracy that is left if turns hardly matter; photographs keep more when mirrored


def pixels_not_normalized(facts: Facts) -> Finding | None:
    """Find inputs whose values are far from mean 0 and deviation 1, and a training that is better if they are not."""
    inputs = torch.cat([images for images, _ in facts.images])
    mean, spread = float(inputs.mean()), float(inputs.std())
    offset = abs(mean) / max(spread, 1e-12)
    is_raw = not facts.data.mean.any() and bool((facts.data.std == 1).all())
    is_usual = LEAST_SPREAD <= spread <= MOST_SPREAD and min(abs(mean), offset) <= MOST_OFFSET
    if is_usual and not is_raw:
        return None
    if not spread or (facts.train_accuracy > LEARNED and not facts.diverged):
        return None
    base, better = facts.short(), _short_normalized(facts, mean, spread)
    is_far, helps = max(spread, 1 / spread) > FAR, better <= CLEARLY * base.loss
    if not (helps or is_far):  # a short training of a slow network may not show it
        return None
    return Finding(
        "pixels_not_normalized",
        sure(better / base.loss, 0.97, 0.8 if is_far else 0.45) if helps else 0.6,
        f"the images that the network gets have a mean of {mean:.3g} and a standard deviation of {spread:.3g}, where "
        f"first weights are made for 0 and 1; {len(base.losses)} steps end at a loss of {base.loss:.2f} with them, and "
        f"of {better:.2f} if they are normalized",
        "Let cnnlab measure mean and standard deviation on the training images.",
        facts.again("data.mean=null", "data.std=null"),
        Where("train/loss", 1, max(1, facts.epochs)),
    )


def _short_normalized(facts: Facts, mean: float, spread: float) -> float:
    """Return the loss of a short training with inputs of mean 0 and deviation 1."""
    from cnnlab.doctor.probes import train_shortly

    def train() -> float:
        batches = [((images - mean) / spread, labels) for images, labels in facts.batches]
        options = {"precision": facts.precision, "clip": facts.settings["trainer"].get("gradient_clip_val")}
        return train_shortly(facts.start, batches, **options, epochs=max(1, facts.epochs)).loss

    return facts.measure("a short training with normalized images", train)


def broken_inputs(facts: Facts) -> Finding | None:
    """Find images without content, that are all the same, or whose values are not finite."""
    inputs = torch.cat([images for images, _ in facts.batches[:40]])
    wrong = ~inputs.flatten(1).isfinite().all(1)
    originals = {split: seen(facts, split)[0].flatten(1) for split in ("train", "val", "test") if _has(facts, split)}
    # A blank image with a square cut out has two values. Drawings in black and white have them from the beginning.
    drawings = _share(_values(seen(facts, "train")[0].permute(0, 3, 1, 2).float()) <= 2)
    shares = {
        "hold values that are not finite": _share(wrong),
        "have the same value everywhere, but for what is cut out": _share(_values(inputs) <= 2) - drawings,
    }
    what, where = "augmented training images", f"of {len(inputs):,}"
    for split, pixels in originals.items():
        _, counts = pixels.unique(dim=0, return_counts=True)
        blank = _share(pixels.amax(1) == pixels.amin(1))
        same = float(counts.max()) / len(pixels) if counts.max() > 2 else 0.0
        if max(blank, same) > max(shares.values()):
            shares = {"have the same value everywhere": blank, "are the same image": same}
            what, where = f"{split} images", f"of {len(pixels):,}"
    kind, share = max(shares.items(), key=lambda pair: pair[1])
    if share < BROKEN:
        return None
    return Finding(
        "broken_inputs",
        sure(BROKEN / share, 0.98, 0.6),
        f"{share:.1%} {where} {what} {kind}",
        "Look at the images, at how they are read, and at your own augmentation.",
        audit_command(facts),
    )


def _values(images: Tensor) -> Tensor:
    """Return how many different values the channel with the most of them has, int64 (N,), of images (N, C, H, W)."""
    finite = images[images.isfinite()]
    apart = 1e-4 * (finite.max() - finite.min()) if len(finite) else 0.0  # normalized values may all be small
    steps = images.flatten(2).sort(2).values.diff(dim=2) > apart
    return steps.sum(2).amax(1) + 1


def _share(chosen: Tensor) -> float:
    return float(chosen.float().mean())


def _has(facts: Facts, split: str) -> bool:
    return len(getattr(facts.data, split)) > 0


def flips_change_class(facts: Facts) -> Finding | None:
    """Find an augmentation that mirrors or turns images, which then show another class."""
    val = guesses(facts, "val")
    if val.accuracy < KNOWN:
        return None
    shares = facts.measure("what the augmentation turns", lambda: _turned(facts))
    total = sum(shares.values())
    if total < SEEN:
        return None
    after = sum(share * _turned_accuracy(facts, name) for name, share in shares.items() if share) / total
    if after > LOST * val.accuracy:
        return None
    name = max(shares, key=lambda name: shares[name])
    return Finding(
        "flips_change_class",
        sure(after / val.accuracy, 0.95, 0.6),
        f"{total:.0%} of the augmented training images look like their original mirrored or turned (most often "
        f"{name}); a simple classifier of pixels gives {val.accuracy:.0%} of {len(val)} validation images their class, "
        f"and {after:.0%} of the same images turned so: they look like other classes",
        "Leave out mirroring and large rotations.",
        facts.again("augmentation.flip=none", "augmentation.rotation=0", "augmentation.then=[]"),
    )


def _turned_accuracy(facts: Facts, name: str) -> float:
    """Return how well the simple classifier does on validation images that are turned."""
    return guesses_if_changed(facts, lambda pixels: TURNS[name](pixels.movedim(-1, 1)).movedim(1, -1)).accuracy


def _turned(facts: Facts) -> dict[str, float]:
    """Return the share of augmented training images that look like their original turned, for each way."""
    data = facts.data
    loader = data.train_dataloader()
    loader.sampler.set_epoch(0)
    order, taken = loader.sampler.positions(), loader.sampler.taken()
    images = torch.cat([images for images, _ in facts.batches])
    places = order[: min(len(images), len(order), 256)]
    places = places if taken is None else taken[places]
    originals = data.train.read(places).permute(0, 3, 1, 2).float().mean(1)
    augmented = images[: len(places)].mean(1)
    if augmented.shape != originals.shape:
        return {}
    plain = _likeness(augmented, originals)
    most, which = torch.stack([_likeness(augmented, turn(originals)) for turn in TURNS.values()]).max(0)
    counts = (most > ALIKE) & (most > plain + APART)
    return {name: _share(counts & (which == number)) for number, name in enumerate(TURNS)}


def _likeness(one: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of images (N, H, W) at the best of the shifts by up to a sixth, float32 (N,)."""
    one, other = (images - images.mean((1, 2), keepdim=True) for images in (one, other))
    size = one.square().sum((1, 2)).sqrt() * other.square().sum((1, 2)).sqrt()
    both = torch.fft.irfft2(torch.fft.rfft2(one) * torch.fft.rfft2(other).conj(), s=one.shape[1:])
    shifts = list(range(-(one.shape[-1] // 6), one.shape[-1] // 6 + 1))
    return both[:, shifts][:, :, shifts].amax((1, 2)) / size.clamp_min(1e-6)


RULES: tuple[Callable[[Facts], Finding | None], ...] = (pixels_not_normalized, broken_inputs, flips_change_class)
