"""Let only the head of a network learn for some epochs, before the rest follows."""

import math
from collections.abc import Collection
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.limits import Count


class Freezing(Callback):
    """Keep all weights but those of the head as they are for some epochs, and the statistics of their norms.

    The optimizer holds all weights from the start, so that rates and a resumed run need no special care.

    Args:
        freeze: epochs in which only the head learns; `all` for all of them, a linear probe.
        head: names of the weights of the head.

    Raises:
        ValueError: if there is no head.
    """

    def __init__(self, freeze: Count | Literal["all"] | None, head: Collection[str]):
        if not head:
            raise ValueError("no layer of the network has as many outputs as there are classes")
        self.epochs = math.inf if freeze == "all" else freeze or 0
        self.head = head
        self._body: list[nn.Parameter] = []  # what learns later, and its norms
        self._norms: list[nn.Module] = []
        self._frozen = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find what is frozen; a run that is resumed within an epoch calls no `on_train_epoch_start`."""
        network: Any = pl_module.network
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad and name not in self.head}
        norms = {name: m for name, m in network.named_modules() if isinstance(m, _NormBase) and m.training}
        self._body = list(trained.values())
        self._norms = [norm for name, norm in norms.items() if f"{name}.weight" not in self.head]
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze, or let all learn."""
        before, self._frozen = self._frozen, trainer.current_epoch < self.epochs
        if self._frozen == before and not before:
            return
        for norm in self._norms:
            norm.train(not self._frozen)
        if trainer.world_size == 1:  # several processes wait for the gradients of all weights
            for parameter in self._body:
                parameter.requires_grad_(not self._frozen)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        """Leave frozen weights without gradients, so that the optimizer passes over them."""
        if self._frozen:
            for parameter in self._body:
                parameter.grad = None
