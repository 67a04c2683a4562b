"""List the faults of the corpus, each in three strengths, from weak to strong."""

from collections.abc import Sequence

from cells import ADAMW, CELLS, Cell, Kind

RELU = tuple(cell for cell in CELLS if cell.network in ("lenet5", "article"))
PLAIN = tuple(cell for cell in CELLS if cell.network != "resnet20")  # shortcuts pass gradients on
DEEP = tuple(cell for cell in CELLS if cell.network in ("article", "resnet20") and cell.data == "digits")
CIFAR = tuple(cell for cell in CELLS if cell.data == "cifar")
DIGITS = tuple(cell for cell in CELLS if cell.data == "digits")
NO_CLIPPING = "trainer.gradient_clip_val=null"
NO_AUGMENTATION = ("augmentation.pad=0", "augmentation.flip=none", "augmentation.cutout=0")


def _batch_norm(cell: Cell) -> tuple[str, ...]:
    return () if cell.has_norms else ("model.normalization=batch",)


def _with_adamw(cell: Cell, rate: float) -> tuple[str, ...]:
    return (*(() if cell.is_adamw else ADAMW), f"optimizer.lr={rate}", "averaging=null")


def _rate(factor: float):
    return lambda cell: (cell.rate(factor),)


def _diverging(factor: float):
    return lambda cell: (cell.rate(factor * (10 if cell.has_norms else 1)), NO_CLIPPING)


def _oscillating(factor: float):
    schedule = ("schedule._target_=cnnlab.training.schedules.constant", "~schedule.warmup", "~schedule.final")
    return lambda cell: (cell.rate(factor), *schedule, "averaging=null")


def _ended(milestone: float):
    schedule = ("schedule._target_=cnnlab.training.schedules.multistep", "~schedule.final", "schedule.warmup=0.02")
    return lambda cell: (*schedule, f"+schedule.milestones=[{milestone}]", "+schedule.gamma=0.001", "averaging=null")


def _no_warmup(factor: float, warmup: float = 0.0):
    return lambda cell: (cell.rate(factor), NO_CLIPPING, f"schedule.warmup={warmup}", "averaging=null")


def _decayed(decay: float):
    return lambda cell: (f"optimizer.weight_decay={decay * (100 if cell.is_adamw else 1)}",)


def _vanishing(gain: float):
    return lambda cell: cell.own("scaled", gain=gain)


def _exploding(gain: float):
    """Make the first weights large. With tanh they saturate instead, so it is not among the cells."""
    return lambda cell: (*_vanishing(gain)(cell), NO_CLIPPING)


def _saturated(gain: float):
    def settings(cell: Cell) -> Sequence[str]:
        norms = ("model.normalization=none",) if cell.has_norms else ()
        return (*cell.own("scaled", gain=gain), "model.activation=tanh", *norms)

    return settings


def _tiny(images: int):
    def settings(cell: Cell) -> Sequence[str]:
        rate = cell.rate(min(1, images / 16))
        return (*_batch_norm(cell), rate, f"data.batch_size={images}", "trainer.limit_train_batches=200")

    return settings


def _lagging(decay: float):
    average = "averaging._target_=lightning.pytorch.callbacks.EMAWeightAveraging"
    return lambda cell: (average, f"averaging.decay={decay}", "averaging.update_every_n_steps=1")


def _slow_statistics(momentum: float):
    return lambda cell: (*cell.own("slow_statistics", momentum=momentum), *_batch_norm(cell), "averaging=null")


def _overfitted(share: float):
    """Show few images so often that there are as many steps as with all of them."""
    nothing = (*NO_AUGMENTATION, "loss.label_smoothing=0", "optimizer.weight_decay=0", "averaging=null")
    return lambda cell: (f"data.fraction={share}", *nothing, cell.epochs(1 / share))


def _slow(factor: float):
    return lambda cell: (cell.rate(factor), "averaging=null", "trainer.precision=32-true")


def _rounded(factor: float):
    return lambda cell: (*cell.own("low_precision"), *_slow(factor)(cell))


def _constants(mean: float, std: float):
    return lambda cell: (f"data.mean=[{mean},{mean},{mean}]", f"data.std=[{std},{std},{std}]")


def _folder(change: str, strength: float, *more: str):
    return lambda cell: (f"data.path=@{change}:{strength}", *more)


def _unshuffled(buffer: float):
    return lambda cell: cell.own_data("Unshuffled", buffer=buffer)


def _imbalanced(share: float):
    return lambda cell: cell.own_data("Imbalanced", share=share)


def _own(function: str, **options: object):
    return lambda cell: cell.own(function, **options)


def _same(*settings: str):
    return lambda cell: settings


FAULTS = {
    "rate_diverges": Kind([_diverging(30), _diverging(100), _diverging(1000)]),
    "rate_oscillates": Kind([_oscillating(4), _oscillating(8), _oscillating(16)]),
    "rate_too_low": Kind([_rate(1 / 100), _rate(1 / 300), _rate(1 / 1000)]),
    "rate_ended_early": Kind([_ended(0.12), _ended(0.08), _ended(0.04)]),
    "warmup_missing": Kind(
        [_no_warmup(f) for f in (3, 6, 12)],
        twins=[_no_warmup(f, 0.3) for f in (3, 6, 12)],  # which a warm-up mends
    ),
    "decay_too_strong": Kind([_decayed(0.03), _decayed(0.1), _decayed(0.3)]),
    "gradients_vanish": Kind([_vanishing(0.25), _vanishing(0.1), _vanishing(0.03)], PLAIN),
    "gradients_explode": Kind([_exploding(5), _exploding(10), _exploding(20)], RELU),
    "dead_relus": Kind([_own("dead", share=0.7), _own("dead", share=0.85), _own("dead", share=1.0)], RELU),
    "saturated_units": Kind([_saturated(10), _saturated(30), _saturated(100)]),
    "softmax_before_loss": Kind(
        [_own("softmax", sharpness=3), _own("softmax", sharpness=1), _own("softmax", sharpness=0.3)], must_harm=False
    ),
    "layers_not_learning": Kind(
        [_own("frozen", share=0.3), _own("detached", share=0.5), _own("frozen", share=0.8)], must_harm=False
    ),
    "tiny_batches": Kind([_tiny(4), _tiny(3), _tiny(2)], DEEP, twins=[_tiny(16)]),
    "lagging_weights": Kind([_lagging(0.999), _slow_statistics(0.003), _lagging(0.9998)]),
    "overfitting": Kind([_overfitted(0.2), _overfitted(0.1), _overfitted(0.05)]),
    "underfitting": Kind(
        [
            lambda cell: (cell.epochs(0.2),),
            _same(
                "augmentation.policy=rand",
                "augmentation.rand_operations=4",
                "augmentation.rand_magnitude=30",
                "augmentation.cutout=16",
                "augmentation.mixup=1.0",
            ),
            _same("model.width=0.1"),
        ]
    ),
    "underflow": Kind([_rounded(f) for f in (0.15, 0.08, 0.04)], twins=[_slow(f) for f in (0.15, 0.08, 0.04)]),
    "selected_on_test": Kind(
        [
            _same("protocol=article"),
            _same("protocol=article", "select=val/loss"),
            _same("protocol=article", "callbacks=early_stopping"),
        ],
        must_harm=False,
    ),
    "pixels_not_normalized": Kind([_constants(0, 0.00392), _constants(0, 255), _constants(0, 1.5e-5)]),
    "broken_inputs": Kind(
        [
            _folder("blank_images", 0.3),
            _folder("same_image", 0.5),
            _same("augmentation.then=[{_target_:own_code.Missing,share:0.8}]"),
        ],
        must_harm=False,
    ),
    "shuffled_labels": Kind([_folder("shuffle_labels", share) for share in (0.25, 0.5, 1.0)], must_harm=False),
    "exchanged_classes": Kind([_folder("exchange_classes", pairs) for pairs in (1, 2, 3)], must_harm=False),
    "leaked_images": Kind(
        [_folder("leak_images", 0.1), _folder("repeat_images", 1.0), _folder("leak_images", 1.0)], must_harm=False
    ),
    "images_not_shuffled": Kind([_unshuffled(0.3), _unshuffled(0.1), _unshuffled(0)], must_harm=False),
    "largest_class": Kind([_imbalanced(0.1), _imbalanced(0.05), _imbalanced(0.02)], CIFAR),
    "flips_change_class": Kind(
        [
            _same("augmentation.flip=random"),
            _same("augmentation.rotation=180"),
            _same("augmentation.then=[{_target_:own_code.Upside}]"),
        ],
        DIGITS,
        must_harm=False,
    ),
}
