"""Write the checkpoints of a run: whole, best.ckpt never behind last.ckpt, and the best epoch from a copy in memory."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from cnnlab.files import link_or_copy, replacing, reserve
from cnnlab.runs.directory import RunDirectory


class Checkpoints(TorchCheckpointIO):
    """The checkpoints of a run, and a copy of the best epoch's where its tensors are, until a file is due.

    Lightning would write to the folder for temporary files, and copy.

    Args:
        run: run directory.
    """

    def __init__(self, run: RunDirectory):
        self.run = run
        self.kept: dict[str, Any] | None = None  # the best epoch since the last saving
        self._keeps = False

    def save(self, trainer: L.Trainer, is_best: bool) -> None:
        """Write last.ckpt, and best.ckpt if this state or one that was kept is the best. All processes take part.

        Both files are complete before the first is replaced, and the best one is replaced first: best.ckpt is never
        older than last.ckpt says, whenever the process dies.
        """
        if self.run.writes:
            with replacing(self.run.last_checkpoint) as new:
                trainer.save_checkpoint(new)
                self._write_best(None if is_best else self.kept, new if is_best else None)
            self.kept = None
        else:
            trainer.save_checkpoint(self.run.last_checkpoint)  # the leader writes

    def keep(self, trainer: L.Trainer) -> None:
        """Keep a copy of this state, the best so far, instead of writing it. All processes take part."""
        self.kept, self._keeps = None, True
        try:
            trainer.save_checkpoint(self.run.best_checkpoint)
        finally:
            self._keeps = False

    def rescue(self) -> bool:
        """Write the state that was kept, if any, as last.ckpt and best.ckpt: the training cannot go on."""
        if self.kept is None:
            return False
        with replacing(self.run.last_checkpoint) as new:
            _write(self.kept, new)
            self._write_best(None, new)
        self.kept = None
        return True

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Do what Lightning asks the first process for: write a checkpoint, or keep it."""
        if self._keeps:
            self.kept = copy.deepcopy(checkpoint)
        else:
            _write(checkpoint, Path(path))

    def _write_best(self, state: dict[str, Any] | None, same: Path | None) -> None:
        """Replace best.ckpt by a state, or by a link to the same file."""
        if state is None and same is None:
            return
        with replacing(self.run.best_checkpoint) as new:
            if state is not None:
                _write(state, new)
            elif same is not None:
                link_or_copy(same, new)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:
        reserve(stream, _size(checkpoint))
        torch.save(checkpoint, stream)
        stream.truncate()


def _size(value: Any) -> int:
    """Return the bytes of all tensors."""
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
