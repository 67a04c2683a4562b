"""Say what a run of the corpus is, and on which networks and images it is trained."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Networks, each with a training that suits it. They are small, for two slow cores.
ADAMW = ("optimizer._target_=torch.optim.AdamW", "~optimizer.momentum", "~optimizer.nesterov")
SMALL_IMAGES = ("data.image_size=16", "augmentation.pad=2", "augmentation.cutout=4")
NETWORKS = {
    "lenet5": ("model=lenet5", "recipe=fast_lenet"),
    "tanh": ("model=lenet5", "recipe=fast_lenet", "model.activation=tanh", "model.pooling=avg"),
    "article": ("model=article", "model.width=0.25", *ADAMW, "optimizer.lr=0.002", "optimizer.weight_decay=0.01"),
    "resnet20": ("model=resnet20", "model.depth=20", "model.width=0.5", *SMALL_IMAGES),
}
BASES = {
    **dict.fromkeys(("lenet5", "tanh"), "cnnlab.models.lenet.LeNet5"),
    "article": "cnnlab.models.article.ArticleNet",
    "resnet20": "cnnlab.models.resnet_cifar.CifarResNet",
}
RATES = {"lenet5": 0.1, "tanh": 0.1, "article": 0.002, "resnet20": 0.1}  # learning rates that suit them
# The digits must not be mirrored.
DATA = {"digits": ("data.batch_size=32", "augmentation.flip=none"), "cifar": ("data.batch_size=128",)}
EPOCHS = {"digits": 6, "cifar": 12}
COMMON = ("data=folder", "logger=none", "trainer.precision=bf16-mixed", "trainer.enable_progress_bar=false")


@dataclass(frozen=True)
class Cell:
    """Network and images of a run."""

    network: str
    data: str

    @property
    def is_adamw(self) -> bool:
        """Return whether its optimizer is AdamW; else SGD with momentum."""
        return self.network == "article"

    @property
    def has_norms(self) -> bool:
        """Return whether it has batch norm."""
        return self.network == "resnet20"

    def settings(self) -> tuple[str, ...]:
        """Return the settings of a healthy run."""
        return (*COMMON, *NETWORKS[self.network], *DATA[self.data], f"trainer.max_epochs={EPOCHS[self.data]}")

    def rate(self, factor: float) -> str:
        """Return a learning rate that is a multiple of the one that suits the network."""
        return f"optimizer.lr={RATES[self.network] * factor:.6g}"

    def epochs(self, factor: float) -> str:
        """Return a length that is a multiple of the usual one."""
        return f"trainer.max_epochs={max(1, round(EPOCHS[self.data] * factor))}"

    def own(self, function: str, **options: object) -> tuple[str, ...]:
        """Return settings that take the network from a function of `own_code`."""
        base = (f"model._target_=own_code.{function}", f"+model.base={BASES[self.network]}")
        return (*base, *(f"+model.{name}={value}" for name, value in options.items()))

    def own_data(self, name: str, **options: object) -> tuple[str, ...]:
        """Return settings that take the images from a class of `own_code`."""
        size = 16 if self.network == "resnet20" else 32
        needed = (f"data._target_=own_code.{name}", f"data.image_size={size}", "data.eval_batch_size=1000")
        return (*needed, *(f"data.{option}={value}" for option, value in options.items()))


CELLS = tuple(Cell(network, data) for data in DATA for network in NETWORKS)
# How often a cell is taken, if not all are: the inverse of what it costs, roughly.
WEIGHTS = {"lenet5": 6.0, "tanh": 6.0, "article": 1.5, "resnet20": 1.5}
CIFAR_WEIGHT = 0.15

Settings = Callable[[Cell], Sequence[str]]


@dataclass(frozen=True)
class Kind:
    """A fault in three strengths, from weak to strong, or one kind of healthy run.

    Attributes:
        settings: of each strength, beside those of the cell. `@CHANGE:STRENGTH` stands for a folder of images, see
            `folders.Folders`.
        cells: those on which it makes sense.
        must_harm: whether it is a fault only where it costs accuracy, such as a rate that is a little too low. A
            softmax too many is a mistake everywhere.
        twins: settings of the healthy run that its accuracy is compared with, beside those of the cell: one for all
            strengths, or one for each.
    """

    settings: Sequence[Settings]
    cells: Sequence[Cell] = CELLS
    must_harm: bool = True
    twins: Sequence[Settings] = (lambda cell: (),)


@dataclass(frozen=True)
class Planned:
    """A run of the corpus."""

    fault: str | None  # None if it is healthy
    kind: str  # the fault, or what is odd about a healthy run
    strength: int  # from 1 to 3; 0 if it is healthy
    cell: Cell
    half: str  # building, or test
    settings: tuple[str, ...]
    must_harm: bool
    twin: str | None  # name of the healthy run to compare with

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.kind}-{self.strength}-{self.cell.network}-{self.cell.data}"


def fraction(*words: object) -> float:
    """Return a number in (0, 1) that depends on the words alone."""
    digest = hashlib.sha256("|".join(map(str, words)).encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2**48


def in_turn(cells: Sequence[Cell], *words: object) -> list[Cell]:
    """Return cells in an order that the words decide, in which cheap ones come earlier more often."""

    def place(cell: Cell) -> float:
        weight = WEIGHTS[cell.network] * (CIFAR_WEIGHT if cell.data == "cifar" else 1)
        return -(fraction(*words, cell.network, cell.data) ** (1 / weight))

    return sorted(cells, key=place)
