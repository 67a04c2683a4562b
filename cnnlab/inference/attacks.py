"""Change test images so little that a person hardly sees it, and so that the network errs."""

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from captum.robust import FGSM, PGD
from torch import Tensor, nn

from cnnlab.data.images import Images
from cnnlab.display import progress_bar
from cnnlab.inference.scoring import Clock, read_batches
from cnnlab.inference.trained import Predictions, TrainedNetwork
from cnnlab.limits import Attack
from cnnlab.reports.gallery import Tile, draw_neighbours

EPSILONS = (1, 2, 4, 8)  # largest change of a value, of 255
STEPS = 20  # of PGD
REACH = 2.5  # way of all steps of PGD together, in epsilons: enough to come back from a wrong start
EXAMPLES = 6  # rows of the gallery


def perturb(net: TrainedNetwork, images: Tensor, labels: Tensor, attack: Attack, epsilon: float, seed: int) -> Tensor:
    """Return images on which the loss is larger, and whose values differ by at most epsilon.

    `fgsm` takes one step along the sign of the gradient (Goodfellow, Shlens and Szegedy 2015); `pgd` takes 20 small
    ones from a random start (Madry et al. 2018). The network is in evaluation mode and computes in float32.

    Args:
        images: float32 (B, C, H, W) in [0, 1], on the network's device.
        labels: int64 (B,), on the same device.
        seed: of the random start.
    """
    kind = FGSM if attack == "fgsm" else PGD
    loss = nn.CrossEntropyLoss(reduction="none")
    attacker = kind(functools.partial(_logits, net), loss, lower_bound=0, upper_bound=1)
    # captum leaves values alone whose gradient is below 1e-6, as it is everywhere where the network is very sure.
    (attacker if isinstance(attacker, FGSM) else attacker.fgsm).zero_thresh = 0
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about gradients of the images, which are wanted
        torch.manual_seed(seed)
        if isinstance(attacker, FGSM):
            return attacker.perturb(images, epsilon, target=labels).detach()
        step = REACH * epsilon / STEPS
        return attacker.perturb(images, epsilon, step, STEPS, target=labels, random_start=True).detach()


def measure_attack(
    net: TrainedNetwork, images: Images, attack: Attack, batch_size: int, picture: Path, clock: Clock
) -> dict[str, Any]:
    """Return the accuracy on attacked images for each epsilon, and draw examples.

    Args:
        net, images: the network, and images of its size.
        attack: the kind.
        batch_size: images at a time.
        picture: file to write.
        clock: receives the seconds of `attack`.

    Returns:
        `kind` and `steps` of the attack, and `accuracies` by epsilon, of 255.
    """
    correct = dict.fromkeys(EPSILONS, 0)
    rows: list[list[Tile]] = []
    bar = progress_bar(len(images) * len(EPSILONS), "attacking the network")
    with clock("attack"):
        for part, (positions, pixels) in enumerate(read_batches(images, batch_size)):
            given = pixels.to(net.device).permute(0, 3, 1, 2) / 255
            labels = images.labels[positions].to(net.device)
            found = []
            for epsilon in EPSILONS:
                changed = perturb(net, given, labels, attack, epsilon / 255, part)
                with torch.inference_mode():
                    logits = _logits(net, changed).cpu()
                correct[epsilon] += int((logits.argmax(dim=1) == labels.cpu()).sum())
                found.append((epsilon, changed, logits))
                bar.update(len(pixels))
            if not rows:
                rows = _examples(net, pixels, labels.cpu(), found)
    bar.close()
    draw_neighbours(rows, picture, f"Test images, and changed by {attack.upper()} to mislead the network")
    accuracies = {str(epsilon): count / len(images) for epsilon, count in correct.items()}
    return {"kind": attack, "steps": 1 if attack == "fgsm" else STEPS, "accuracies": accuracies}


def _logits(net: TrainedNetwork, images: Tensor) -> Tensor:
    """Return the logits of images in [0, 1], with gradients, which pass through the normalization."""
    mean, std = (values.to(images.device)[:, None, None] for values in (net.mean, net.std))
    return net.network((images - mean) / std)


def _examples(
    net: TrainedNetwork, pixels: Tensor, labels: Tensor, found: Sequence[tuple[int, Tensor, Tensor]]
) -> list[list[Tile]]:
    """Return rows of tiles: an image that the network recognizes, and what the attack makes of it for each epsilon."""
    clean = net.logits(pixels[: len(labels)])
    recognized = (clean.argmax(dim=1) == labels).nonzero().flatten()[:EXAMPLES].tolist()
    answers = Predictions(clean, net.classes).top(2)
    attacked = [(epsilon, changed, Predictions(logits, net.classes).top(2)) for epsilon, changed, logits in found]
    rows = []
    for place in recognized:
        label = net.classes[int(labels[place])]
        row = [Tile(pixels[place].numpy(), f"test:{place}", answers[place], label)]
        for epsilon, changed, top in attacked:
            image = (changed[place].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
            row.append(Tile(image, f"by up to {epsilon} of 255", top[place], label))
        rows.append(row)
    return rows
