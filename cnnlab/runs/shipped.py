"""Find the trained networks that come with cnnlab; `cnnlab/weights/README.md` describes them."""

from pathlib import Path

from cnnlab.runs.hub import is_fetched

WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped_names() -> list[str]:
    """Return the names of the networks, such as `resnet20-cifar10`."""
    return sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))


def find_shipped(name: str) -> Path | None:
    """Return the file of a network that comes with cnnlab, or None if none has this name."""
    return WEIGHTS / f"{name}.safetensors" if name in shipped_names() else None


def shipped_data(checkpoint: Path) -> str | None:
    """Return the choice of `data` that such a network was trained on, such as `cifar10`, or None for other files."""
    return checkpoint.stem.rpartition("-")[2] if checkpoint.parent == WEIGHTS else None


def folder_beside(checkpoint: Path) -> Path:
    """Return the folder for what is made of a checkpoint without a run: its own, but not the package's or a cache's."""
    return Path() if checkpoint.parent == WEIGHTS or is_fetched(checkpoint) else checkpoint.parent
