"""Recognize wrong learning rates, schedules, weight decay and number formats.

Most rules repeat a short training from the first weights, or from the last, with one setting changed. The whole
schedule is squeezed into it. What the change does to the loss is the evidence.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, NotMeasured, Where, sure

# A loss that a change lowers to this share of what it was is clearly lower: two trainings with different seeds differ
# by less after as many steps.
CLEARLY = 0.8
AT_CHANCE = 0.98  # share of the first loss, or of chance; a training that ends above it has learned nothing
SHRINKING = 0.7  # size of the weights in units of their first size
NOTICEABLY = 0.985  # share of the loss that is left without weight decay; healthy trainings have 0.995 to 1
SHRUNK = 0.4  # size of the weights in units of their first size; weight decay as in the recipes leaves 0.5 to 2
SLOWLY = 0.12  # share of the first loss by which a short training at too low a rate falls at most
STUCK = 0.03  # change of the weights in units of their size; trainings that learn have 0.3 to 3
NOT_FAR = 0.2  # the same
NEXT_TO_NOTHING = 0.03  # share of the peak rate; steps of a tenth each are at 0.01 for a quarter of the training
FALLS = 0.04  # validation accuracy, from one epoch to the next
STILL_HIGH = 0.3  # share of the peak rate
SETTLES = 0.97  # share of the loss; at a constant rate that suits a network it is 0.96 to 1
LEARNED = 0.97  # training accuracy above which a rate has done what it should


def rate_diverges(facts: Facts) -> Finding | None:
    """Find a loss that is not finite, or no better than at the start, which a lower rate lowers."""
    if not (facts.diverged or facts.at_chance):
        return None
    first = _first_loss(facts)
    base, factor, best, longer = facts.short(), 1.0, math.inf, 1
    for longer in (1, 3):  # some networks are slow to begin
        base = facts.short(longer=longer)
        if base.loss < AT_CHANCE * first:
            return None
        factors = (0.1, 0.01, 0.001) if np.isfinite(base.loss) else (0.1, 0.01, 0.001, 1e-4, 1e-6)
        factor, best = _first_that_helps(facts, factors, 0.9 * first, longer)
        if best < AT_CHANCE * first:
            break
    calm = (
        np.nanmax(base.losses) > 1.5 * first and np.nanmax(facts.short(lr=factor, longer=longer).losses) < 1.2 * first
    )
    if best > AT_CHANCE * first and not (calm and best < first):
        return None
    seen = facts.summary["error"] if facts.diverged else f"the run ended at chance ({facts.train_accuracy:.1%})"
    peak = float(np.nanmax(base.losses))
    return Finding(
        "rate_diverges",
        sure(best / first, 0.98, 0.75),
        f"{seen}; {len(base.losses)} steps at the run's rate take the loss from {first:.3g} to {_loss(base.loss)} (at "
        f"most {peak:.3g}), and at {factor:g} times the rate to {best:.3g}",
        "Lower the learning rate, or clip the gradients.",
        facts.again(f"optimizer.lr={_rate(facts) * factor:g}"),
        Where("train/loss", 1, facts.epochs),
    )


def rate_oscillates(facts: Facts) -> Finding | None:
    """Find a loss that goes up and down, and falls at once at a tenth of the rate."""
    if facts.diverged or facts.train_accuracy > LEARNED:
        return None
    base, low = facts.short(), facts.short(lr=0.1)
    if not np.isfinite(base.loss):
        return None
    if late := _unsettled(facts):
        confidence, seen = 0.75, late
    elif _is_clearly_lower(facts, low.loss, base.loss):
        confidence = sure(low.loss / base.loss, 0.95, 0.6) * (0.7 if facts.at_chance else 1)
        seen = (
            f"{len(base.losses)} steps end at a loss of {base.loss:.3g} at the run's rate, and of {low.loss:.3g} at a "
            f"tenth of it; the training loss rose in {_jumps(facts.curve('train/loss')):.0%} of the epochs"
        )
    else:
        return None
    return Finding(
        "rate_oscillates",
        confidence,
        seen,
        "Lower the learning rate.",
        facts.again(f"optimizer.lr={_rate(facts) / 10:g}"),
        Where("train/loss", 1, facts.epochs),
    )


def _unsettled(facts: Facts) -> str | None:
    """Find a rate that is still too high at the end: a tenth lowers the loss there, and costs nothing at the start."""
    if not facts.has_checkpoint or facts.at_chance:
        return None
    rates, accuracy = facts.curve("lr"), facts.curve("val/accuracy")
    late = accuracy[len(accuracy) // 2 :]
    fell = float(np.nanmax(late[:-1] - late[1:], initial=0.0))
    last = float(rates[-1] / max(np.nanmax(rates), facts.summary["lr"] or 0.0))
    if fell < FALLS or last < STILL_HIGH or facts.short(longer=3, lr=0.1).loss > facts.short(longer=3).loss:
        return None
    on, lower = (facts.short("trained", constant=share * last) for share in (1.0, 0.1))
    if not lower.loss < SETTLES * on.loss:
        return None
    return (
        f"in the second half of the run, the validation accuracy fell by up to {fell:.1%} from one epoch to the next; "
        f"{len(on.losses)} more steps end at a loss of {on.loss:.2f} at the last rate, and of {lower.loss:.2f} at a "
        "tenth of it"
    )


def rate_too_low(facts: Facts) -> Finding | None:
    """Find a loss that falls slowly and much faster at a higher rate, or weights that have hardly moved."""
    if facts.diverged or facts.train_accuracy > LEARNED:
        return None
    base, first = facts.short(), _first_loss(facts)
    fell = first - base.loss
    if fell < -0.05 * first:
        return None
    wanted = first - max(0.05 * first, 3 * fell)
    factor, best = _first_that_helps(facts, (10.0, 100.0, 1000.0), wanted)
    moved = _moved(facts) if facts.has_checkpoint else None
    if fell < SLOWLY * first and best < wanted and (moved or 0.0) < NOT_FAR:
        confidence = sure(best / base.loss, 0.98, 0.7)
        seen = (
            f"{len(base.losses)} steps bring the loss from {first:.2f} to {base.loss:.2f} at the run's rate, and to "
            f"{best:.2f} at {factor:g} times the rate"
        )
    elif moved is not None and moved < STUCK and facts.learned_little:
        factor = 10.0
        if facts.short(lr=factor).loss > 1.02 * base.loss:
            return None
        confidence = sure(moved / STUCK, 0.95, 0.6)
        seen = f"the whole training changed the weights by {moved:.1%} of their size (median of the layers)"
    else:
        return None
    return Finding(
        "rate_too_low",
        confidence,
        seen,
        f"Raise the learning rate {factor:g}-fold, or let callbacks=lr_finder search one.",
        facts.again(f"optimizer.lr={_rate(facts) * factor:g}"),
        Where("train/loss", 1, facts.epochs),
    )


def _moved(facts: Facts) -> float:
    """Return how far the training moved the weights, as a share of their size: the median of the layers."""
    start = dict(facts.start.network.named_parameters())
    pairs = [(start[name], end) for name, end in facts.trained.network.named_parameters() if end.ndim >= 2]
    return float(np.median([float((end - before).detach().norm() / before.detach().norm()) for before, end in pairs]))


def rate_ended_early(facts: Facts) -> Finding | None:
    """Find a rate that is next to nothing for much of the training, before the images are learned."""
    rates, losses = facts.curve("lr"), facts.curve("train/loss")
    peak = max(np.nanmax(rates), facts.summary["lr"] or 0.0)
    enough = np.flatnonzero(rates > NEXT_TO_NOTHING * peak)
    last = int(enough[-1]) + 1 if len(enough) else 0  # epochs that end with a rate worth speaking of
    if facts.diverged or len(rates) < 4 or len(rates) - last < 0.5 * len(rates) or facts.train_accuracy > LEARNED:
        return None
    fell = losses[max(0, last - 1)] - losses[-1]
    on, still = facts.short("trained", constant=0.3), facts.short("trained", constant=float(rates[-1] / peak))
    return Finding(
        "rate_ended_early",
        sure(on.loss / still.loss, 0.98, 0.8),
        f"from epoch {last + 1} of {len(rates)} on the rate was below {NEXT_TO_NOTHING:.0%} of its peak, and the "
        f"training loss fell by {fell:.2f}; {len(on.losses)} more steps end at {on.loss:.2f} at 0.3 times the peak, "
        f"and at {still.loss:.2f} at the last rate",
        "Let the rate fall over the whole training.",
        facts.again("schedule._target_=cnnlab.training.schedules.cosine"),
        Where("lr", last + 1, len(rates)),
    )


def warmup_missing(facts: Facts) -> Finding | None:
    """Find a training that fails at its rate from the first step, and learns if the rate rises to it."""
    if not (facts.diverged or facts.train_accuracy < LEARNED):
        return None
    if facts.short().rates[0] < 0.5 * max(facts.short().rates) or (not facts.diverged and _unsettled(facts)):
        return None  # it has a warm-up, or its rate is too high at the end too
    base, warm = facts.short(), facts.short(warmup=True)
    first = _first_loss(facts)
    if AT_CHANCE * first < base.loss < math.inf and not _is_clearly_lower(facts, warm.loss, base.loss):
        base, warm = facts.short(longer=3), facts.short(longer=3, warmup=True)  # some networks are slow to begin
    peak = float(np.nanmax(base.losses[: max(2, len(base.losses) // 3)]))
    if base.loss < 0.5 * first or not _is_clearly_lower(facts, warm.loss, base.loss):
        return None
    return Finding(
        "warmup_missing",
        sure(warm.loss / min(base.loss, first), 0.95, 0.6),
        f"the loss rose from {first:.2f} to {peak:.2f} in the first steps; {len(base.losses)} steps end at "
        f"{_loss(base.loss)}, and at {warm.loss:.2f} if the rate rises over the first third",
        "Let the rate rise over the first steps (schedule.warmup).",
        facts.again("schedule.warmup=0.2"),
        Where("train/loss", 1, 1),
    )


def decay_too_strong(facts: Facts) -> Finding | None:
    """Find weights that shrink, and a loss that falls without weight decay."""
    decay = facts.settings["optimizer"].get("weight_decay") or 0.0
    if not decay or facts.diverged or facts.train_accuracy > LEARNED:
        return None
    start = {layer.name: layer.weight for layer in facts.layers("start")}
    ratios = [layer.weight / start[layer.name] for layer in facts.layers("trained") if start[layer.name]]
    shrunk = float(np.median(ratios))
    if shrunk > SHRINKING:
        return None
    kept, free = (facts.short("trained", longer=3, constant=0.3, decay=factor) for factor in (1.0, 0.0))
    if shrunk > SHRUNK and free.loss > NOTICEABLY * kept.loss:
        return None
    return Finding(
        "decay_too_strong",
        sure(min(shrunk, free.loss / kept.loss), 0.95, 0.5),
        f"the weights shrank to {shrunk:.2f} of their first size (median of the layers) with a weight decay of "
        f"{decay:g}; {len(free.losses)} more steps end at a loss of {kept.loss:.2f} with it, and of {free.loss:.2f} "
        "without it",
        "Lower the weight decay to a hundredth.",
        facts.again(f"optimizer.weight_decay={decay / 100:g}"),
        Where("train/loss", 1, facts.epochs),
    )


def underflow(facts: Facts) -> Finding | None:
    """Find weights in a format of 16 bits that stay as they are although they have gradients."""
    lost = facts.short().lost
    if lost < 0.3 or facts.train_accuracy > LEARNED:
        return None
    return Finding(
        "underflow",
        sure(1 - lost, 0.95, 0.6),
        f"the weights have 16 bits; in {len(facts.short().losses)} steps, {lost:.0%} of the updates with a gradient "
        "left the weight as it was",
        "Keep the weights in 32 bits, as 32-true and bf16-mixed do.",
        facts.again("trainer.precision=32-true"),
    )


def _first_loss(facts: Facts) -> float:
    """Return the loss before the first step."""
    first = float(facts.short().losses[0])
    if not np.isfinite(first):
        raise NotMeasured("the loss is not finite before the first step: the images or the first weights are not")
    return first


def _is_clearly_lower(facts: Facts, loss: float, other: float) -> bool:
    """Return whether a loss is clearly lower than another one, or below chance if that is not."""
    chance = min(_first_loss(facts), math.log(facts.classes))
    return loss < CLEARLY * other or (other > AT_CHANCE * chance and loss < AT_CHANCE * chance)


def _first_that_helps(facts: Facts, factors: Sequence[float], loss: float, longer: int = 1) -> tuple[float, float]:
    """Return the first factor on the rate that brings the loss below a value, or the best one, and the loss."""
    losses: dict[float, float] = {}
    for factor in factors:
        losses[factor] = facts.short(lr=factor, longer=longer).loss
        if losses[factor] < loss:
            return factor, losses[factor]
    return min(losses.items(), key=lambda pair: pair[1])


def _rate(facts: Facts) -> float:
    return facts.summary["lr"] or facts.settings["optimizer"].get("lr") or 1.0


def _loss(loss: float) -> str:
    return f"{loss:.3g}" if np.isfinite(loss) else "infinity"


def _jumps(losses: np.ndarray) -> float:
    """Return the share of epochs in which a loss rose."""
    return float((np.diff(losses) > 0).mean()) if len(losses) > 1 else 0.0


RULES: tuple[Callable[[Facts], Finding | None], ...] = (
    rate_diverges,
    rate_oscillates,
    rate_too_low,
    rate_ended_early,
    warmup_missing,
    decay_too_strong,
    underflow,
)
