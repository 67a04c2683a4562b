"""List healthy runs of the corpus: with settings that are odd, but right."""

from cells import ADAMW, CELLS, Cell, Kind

LENETS = tuple(cell for cell in CELLS if cell.network in ("lenet5", "tanh"))
RELU_LENET = tuple(cell for cell in CELLS if cell.network == "lenet5")
DIGITS = tuple(cell for cell in CELLS if cell.data == "digits")
CIFAR = tuple(cell for cell in CELLS if cell.data == "cifar")
SGD = tuple(cell for cell in CELLS if not cell.is_adamw)
NO_NORMS = tuple(cell for cell in CELLS if not cell.has_norms)
SIMPLE = ("~optimizer.momentum", "~optimizer.nesterov")


def _same(*settings: str):
    return lambda cell: settings


def _rate(factor: float, *more: str):
    return lambda cell: (cell.rate(factor), *more)


def _longer(factor: float, *more: str):
    return lambda cell: (cell.epochs(factor), *more)


def _adamw(cell: Cell) -> tuple[str, ...]:
    return (*(() if cell.is_adamw else ADAMW), "optimizer.lr=0.002")


def _optimizer(name: str, rate: float, *more: str):
    return lambda cell: (
        f"optimizer._target_=torch.optim.{name}",
        *(() if cell.is_adamw else SIMPLE),
        f"optimizer.lr={rate}",
        "optimizer.weight_decay=0",
        *more,
    )


def _constants(mean: float, std: float):
    return lambda cell: (f"data.mean=[{mean},{mean},{mean}]", f"data.std=[{std},{std},{std}]")


HEALTHY = {
    "recipe": Kind([_same()]),
    "other-seed": Kind([_same("seed=7")]),
    "adamw": Kind([_adamw]),
    "adam": Kind([_optimizer("Adam", 0.002)]),
    "rmsprop": Kind([_optimizer("RMSprop", 0.0005)], LENETS),
    "adagrad": Kind([_optimizer("Adagrad", 0.01)], LENETS),
    "nadam": Kind([_optimizer("NAdam", 0.001)]),
    "no-momentum": Kind([_same("optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.lr=0.3")], SGD),
    "no-decay": Kind([_same("optimizer.weight_decay=0")]),
    "half-rate": Kind([_rate(0.5)]),
    "higher-rate": Kind([_rate(1.5)]),
    "constant-rate": Kind(
        [_rate(0.3, "schedule._target_=cnnlab.training.schedules.constant", "~schedule.warmup", "~schedule.final")]
    ),
    "cosine": Kind([_same("schedule._target_=cnnlab.training.schedules.cosine")]),
    "steps": Kind(
        [_rate(0.5, "schedule._target_=cnnlab.training.schedules.multistep", "~schedule.final", "schedule.warmup=0.1")]
    ),
    "no-warm-up": Kind([_rate(0.5, "schedule.warmup=0")]),
    "no-clipping": Kind([_rate(0.5, "trainer.gradient_clip_val=null")]),
    "no-augmentation": Kind([_same("augmentation.pad=0", "augmentation.flip=none", "augmentation.cutout=0")]),
    "no-smoothing": Kind([_same("loss.label_smoothing=0")]),
    "no-average": Kind([_same("averaging=null")]),
    "plain": Kind(
        [
            _same(
                "averaging=null",
                "loss.label_smoothing=0",
                "augmentation.pad=0",
                "augmentation.flip=none",
                "augmentation.cutout=0",
                "trainer.gradient_clip_val=null",
                "optimizer.lr=0.02",
            )
        ],
        SGD,
    ),
    "mixup": Kind([_longer(1.5, "augmentation.mixup=0.2")]),
    "cutmix": Kind([_longer(1.5, "augmentation.cutmix=1.0", "augmentation.mix_probability=0.5")]),
    "trivial-augment": Kind([_longer(1.5, "augmentation.policy=trivial", "augmentation.cutout=0")], CIFAR),
    "rotation": Kind([_same("augmentation.rotation=10", "augmentation.scale=0.1")]),
    "fewer-epochs": Kind([_longer(0.67)], DIGITS),
    "longer": Kind([_longer(1.7)]),
    "narrow": Kind([_same("model.width=0.6")], LENETS),
    "wide": Kind([_same("model.width=1.5")], LENETS),
    "gelu": Kind([_same("model.activation=gelu")]),
    "silu": Kind([_same("model.activation=silu")]),
    "leaky-relu": Kind([_same("model.activation=leaky_relu")]),
    "elu": Kind([_same("model.activation=elu")]),
    "average-pooling": Kind([_same("model.pooling=avg")], RELU_LENET),
    "batch-norm": Kind([_same("model.normalization=batch")], NO_NORMS),
    "group-norm": Kind([_same("model.normalization=group")]),
    "layer-norm": Kind([_same("model.normalization=layer")], LENETS),
    "dropout": Kind([_longer(1.5, "model.dropout=0.2")], LENETS),
    "small-batches": Kind([_rate(0.3, "data.batch_size=12")]),
    "large-batches": Kind([_longer(1.5, "data.batch_size=96")], DIGITS),
    "half-the-images": Kind([_longer(2, "data.fraction=0.5")], DIGITS),
    "minus-one-to-one": Kind([_constants(0.5, 0.5)]),
    "other-constants": Kind([_constants(0.45, 0.25)]),
    "select-by-loss": Kind([_same("select=val/loss")]),
    "more-validation": Kind([_same("data.holdout=0.2")]),
    "balanced": Kind([_same("data.sampling=balanced")]),
    "weighted-loss": Kind([_same("loss.weight=balanced")]),
    "slightly-imbalanced": Kind([lambda cell: (cell.epochs(1.5), *cell.own_data("Imbalanced", share=0.5))], DIGITS),
    "float32": Kind([_same("trainer.precision=32-true")], LENETS),
    "accumulated": Kind([_longer(1.5, "trainer.accumulate_grad_batches=2")], DIGITS),
    "mirrored-twice": Kind([_same("tta=flip")], CIFAR),
    "early-stopping": Kind([_longer(1.5, "callbacks=early_stopping")]),
}
