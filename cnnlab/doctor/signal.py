"""Recognize what stops the signal in a network: forwards, or the gradients backwards."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, Where, sure
from cnnlab.doctor.rate import LEARNED

if TYPE_CHECKING:
    from cnnlab.doctor.probes import Layer
    from cnnlab.inspection.activations import ActivationUse

FADED = 2e-3  # gradient in units of the weights (root mean squares); networks that learn at once have 0.01 and more
FAINTER = 0.08  # gradient of the first layers as a share of that of the last; without norms, 0.1 and more learns
LOST = 0.01  # the same; what learns in spite of it learns late
ENOUGH = 0.8  # training accuracy
SHRINKS = 0.2  # deviation of the outputs of a layer for inputs of deviation 1; usual first weights have 0.34 to 0.6
HELPS = 0.85  # share of the loss; 0.77 to 1 for usual first weights, which do not shrink so much
LAG = 0.05  # accuracy; averages over the last part of a training differ by less, and mostly for the better
FAR_BEHIND = 0.15  # accuracy
LAGGING = 0.65  # loss in units of that of the averaged weights; averages are a little behind in short trainings
STALE = 0.9  # loss in units of that with collected statistics; where these are right, it is 1 to 1.2
# Shares of a layer's units or values that are quiet before the first step. First weights that are small leave half the
# ReLUs awake; of the tanh values in networks that learn, at most 0.1 lie at the limits.
QUIET = {"dead": 0.65, "saturated": 0.3}
NEARLY_ALL = 0.8  # the same, of layers that were awake at the start: trained ones that work have up to 0.6


def softmax_before_loss(facts: Facts) -> Finding | None:
    """Find outputs that are probabilities, of which the loss takes the softmax again."""
    import torch

    network = facts.start.network.eval()
    with torch.no_grad():
        outputs = network(facts.images[0][0]).float()
    far = float((outputs.sum(dim=1) - 1).abs().max())
    if far > 0.01 or outputs.min() < 0 or "CrossEntropy" not in facts.settings["loss"]["_target_"]:
        return None
    least = math.log(math.e + facts.classes - 1) - 1
    return Finding(
        "softmax_before_loss",
        0.98,
        f"the outputs for {len(outputs)} images lie between 0 and 1 and add up to 1 (within {far:.0e}); cross-entropy "
        f"takes their softmax again, and cannot fall below {least:.2f}",
        "Leave out the softmax: the network should return logits.",
        facts.describe,
        Where("train/loss", 1, facts.epochs),
    )


def layers_not_learning(facts: Facts) -> Finding | None:
    """Find layers whose weights stay as they are while others change."""
    if facts.settings.get("freeze") and facts.settings.get("weights"):
        return None  # wanted: they were trained before
    import torch

    before = dict(facts.start.network.named_parameters())
    after = dict(facts.short().classifier.network.named_parameters())
    names = [name for name, weight in before.items() if weight.ndim >= 2]
    stuck = [name for name in names if torch.equal(before[name], after[name])]
    if not stuck or len(stuck) == len(names):
        return None
    share = sum(before[name].numel() for name in stuck) / sum(before[name].numel() for name in names)
    return Finding(
        "layers_not_learning",
        0.95,
        f"{len(facts.short().losses)} steps changed {len(names) - len(stuck)} layers, and left {len(stuck)} exactly as "
        f"they were ({share:.0%} of the weights): {', '.join(stuck[:3])}{', ...' if len(stuck) > 3 else ''}",
        "Look for requires_grad=False, a detach(), and weights that the optimizer was not given.",
        facts.describe,
    )


def gradients_vanish(facts: Facts) -> Finding | None:
    """Find gradients that are next to nothing in the first layers, of a network that has learned little or late."""
    if facts.diverged:
        return None
    first, last = _gradient_sizes(facts.layers("start"))
    confidence, more = sure(first / FADED, 0.95, 0.4), ""
    if not _is_faint(facts, first, last):
        helped = _larger_weights_help(facts)
        if not helped:
            return None
        confidence, more = helped
    return Finding(
        "gradients_vanish",
        confidence,
        f"before the first step, the gradient is {first:.1e} of the weights in the first layers (median) and "
        f"{last:.1e} in the last; the run ended with {facts.train_accuracy:.1%} of the training images{more}",
        "Use ReLU and batch norm or shortcuts, and first weights that fit the activation.",
        facts.with_option("model.normalization=batch", "model=resnet20"),
        Where("train/loss", 1, facts.epochs),
    )


def _is_faint(facts: Facts, first: float, last: float) -> bool:
    """Return whether the gradients of the first layers are small beside those of the last, and little was learned."""
    if first > FADED or first > FAINTER * last:
        return False
    is_lost = first < LOST * last
    if not (facts.train_accuracy < ENOUGH if is_lost else facts.learned_little):
        return False
    # Some networks begin slowly, and their gradients are large once they learn.
    return is_lost or facts.at_chance or _gradient_sizes(facts.layers("trained"))[0] <= FADED


def _larger_weights_help(facts: Facts) -> tuple[float, str] | None:
    """Find that each layer shrinks its values, and that a network that keeps their size learns at once."""
    from cnnlab.doctor.probes import has_norms

    if has_norms(facts.start.network) or facts.train_accuracy > LEARNED:
        return None
    if not facts.deviations or np.median(facts.deviations) > SHRINKS:
        return None
    base, fitted = facts.short(longer=3), facts.short("fitted", longer=3)
    if not fitted.loss < HELPS * base.loss:
        return None
    return sure(fitted.loss / base.loss, 0.95, 0.5), (
        f"; each layer shrinks its values to a deviation of {np.median(facts.deviations):.2f} of what it is given "
        f"(median), and {len(base.losses)} steps end at a loss of {base.loss:.2f}, but at {fitted.loss:.2f} with first "
        "weights that keep it at 1"
    )


def _gradient_sizes(layers: "Sequence[Layer]") -> tuple[float, float]:
    """Return the gradient in units of the weights: the median of the first half of the layers, and of the last two."""
    sizes = [layer.gradient / layer.weight for layer in layers if layer.weight and layer.gradient]
    if len(sizes) < 2:
        return math.inf, math.inf
    return float(np.median(sizes[: len(sizes) // 2])), max(sizes[-2:])


def gradients_explode(facts: Facts) -> Finding | None:
    """Find gradients and a loss that are huge before the first step."""
    base, usual = facts.short(), math.log(facts.classes)
    first, size = base.losses[0], base.gradients[0]
    if not (first > 2 * usual or not np.isfinite(first)) or size < 30:
        return None
    return Finding(
        "gradients_explode",
        sure(30 / size, 0.95, 0.5) if np.isfinite(size) else 0.95,
        f"before the first step, the norm of the gradient is {size:,.0f} and the loss {first:,.1f}; a network that "
        f"knows nothing has a loss of {usual:.1f}, and a gradient of 0.1 to 10",
        "Start with smaller weights, normalize the layers, or clip the gradients.",
        facts.again("trainer.gradient_clip_val=1"),
        Where("train/loss", 1, 1),
    )


def dead_relus(facts: Facts) -> Finding | None:
    """Find ReLUs that are zero for every image."""
    advice = "Lower the learning rate, use leaky ReLUs, and look at the first biases."
    return _quiet(facts, "dead", "dead_relus", advice, "activation=leaky_relu")


def saturated_units(facts: Facts) -> Finding | None:
    """Find functions such as tanh whose values lie at their limits."""
    advice = "Start with smaller weights, normalize the layers, or use ReLU."
    return _quiet(facts, "saturated", "saturated_units", advice, "normalization=batch")


def tiny_batches(facts: Facts) -> Finding | None:
    """Find batch norm with the statistics of a few images."""
    from cnnlab.doctor.probes import has_batch_norm

    size = facts.settings["data"]["batch_size"]
    if size > 4 or not has_batch_norm(facts.start.network):
        return None
    return Finding(
        "tiny_batches",
        0.9 if size <= 3 else 0.8,
        f"batch norm takes its statistics from batches of {size} images",
        "Use batches of 16 images or more, or group norm.",
        facts.again("data.batch_size=32"),
    )


def lagging_weights(facts: Facts) -> Finding | None:
    """Find weights or statistics in the evaluation that are far from those that were trained."""
    from cnnlab.doctor.probes import has_batch_norm

    end, trained = facts.score("end"), facts.score("trained")
    best, what = trained, "with the weights that the optimizer was at"
    share = STALE if best.accuracy - end.accuracy > FAR_BEHIND else LAGGING
    if has_batch_norm(facts.start.network):
        fresh = facts.score("trained", batch_statistics=True)
        if fresh.accuracy > best.accuracy + 0.02:
            best, what, share = fresh, "with the statistics of the batches themselves", STALE
    if best.accuracy - end.accuracy < LAG or best.loss > share * end.loss:
        return None
    return Finding(
        "lagging_weights",
        sure(best.loss / end.loss, 0.95, 0.6),
        f"the saved network gives {end.accuracy:.1%} of {sum(len(labels) for _, labels in facts.images)} training "
        f"images the right class (loss {end.loss:.2f}), and {best.accuracy:.1%} (loss {best.loss:.2f}) {what}",
        "Let averages and statistics follow faster, or train longer.",
        facts.again("averaging=null"),
        Where("val/loss", 1, facts.epochs),
    )


def _quiet(facts: Facts, kind: Literal["dead", "saturated"], fault: str, advice: str, mend: str) -> Finding | None:
    """Find the activation function of which most units are quiet, at the end or, if nothing was saved, at the start."""
    if facts.train_accuracy > LEARNED:
        return None
    origin = "end" if facts.has_checkpoint else "start"
    uses = [use for use in facts.activations(origin) if use.quiet == kind]
    if not uses:
        return None
    shares = [_quiet_share(use) for use in uses]
    worst = int(np.argmax(shares))
    before = _quiet_share([use for use in facts.activations("start") if use.quiet == kind][worst])
    has_learned = facts.train_accuracy > 0.5 * (1 + facts.chance)
    # What is quiet from the start is a cause. What became quiet may be the effect of something else, or harmless.
    if before < QUIET[kind] and (shares[worst] < NEARLY_ALL or has_learned or gradients_vanish(facts)):
        return None
    use = uses[worst]
    what = "are zero for every image" if kind == "dead" else "lie within 5 % of the limits"
    return Finding(
        fault,
        sure(1 - shares[worst], 0.95, 0.5) * (1 if before >= QUIET[kind] else 0.7),
        f"{shares[worst]:.0%} of the {use.function} values of {use.name} {what} at the {origin}, and {before:.0%} "
        f"before the first step; over all layers {float(np.mean(shares)):.0%}",
        advice,
        facts.with_option(f"model.{mend}", "model=resnet20"),
    )


def _quiet_share(use: "ActivationUse") -> float:
    """Return the share of dead channels or units, or of saturated values."""
    if use.quiet == "saturated":
        return use.quiet_share
    if use.channels:
        return (use.quiet_channels or 0) / use.channels
    return use.quiet_units / use.units


RULES: tuple[Callable[[Facts], Finding | None], ...] = (
    softmax_before_loss,
    layers_not_learning,
    gradients_vanish,
    gradients_explode,
    dead_relus,
    saturated_units,
    tiny_batches,
    lagging_weights,
)
