import pytest

from cnnlab.words import did_you_mean, nearest

KEYS = (
    *("name", "seed", "resume", "data", "model", "trainer", "optimizer", "schedule", "augmentation", "logger", "tta"),
    *("optimizer.lr", "optimizer.momentum", "optimizer.weight_decay", "schedule.warmup", "loss.label_smoothing"),
    *(
        "data.batch_size",
        "data.path",
        "data.holdout",
        "data.image_size",
        "data.workers",
        "model.width",
        "hydra.run.dir",
    ),
    *("trainer.max_epochs", "trainer.devices", "trainer.precision", "trainer.tf32", "trainer.gradient_clip_val"),
    *("augmentation.pad", "augmentation.flip", "augmentation.erasing", "averaging.decay", "trainer.accelerator"),
)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr", "optimizer.lr"),
        ("learning_rate", "optimizer.lr"),
        ("model.lr", "optimizer.lr"),
        ("lr_max", "optimizer.lr"),
        ("wd", "optimizer.weight_decay"),
        ("epochs", "trainer.max_epochs"),
        ("max_epochs", "trainer.max_epochs"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("gpus", "trainer.devices"),
        ("trainer.gpus", "trainer.devices"),
        ("device", "trainer.accelerator"),
        ("batch_size", "data.batch_size"),
        ("bs", "data.batch_size"),
        ("datamodule.batch_size", "data.batch_size"),
        ("num_workers", "data.workers"),
        ("img-size", "data.image_size"),
        ("data_dir", "data.path"),
        ("valid_pct", "data.holdout"),
        ("ckpt_path", "resume"),
        ("output_dir", "hydra.run.dir"),
        ("arch", "model"),
        ("scheduler", "schedule"),
        ("amp", "trainer.precision"),
        ("clip_grad", "trainer.gradient_clip_val"),
        ("hflip", "augmentation.flip"),
        ("modle", "model"),
        ("optimiser", "optimizer"),
        ("optimizer.momentun", "optimizer.momentum"),
        ("trainer.tf23", "trainer.tf32"),
        # neither near in meaning nor a typo
        ("rotation", None),
        ("augmentation.rotation", None),
        ("trainer.foo", None),
        ("patience", None),
        ("test", None),
        ("verbose", None),
    ],
)
def test_what_users_of_other_frameworks_type(word: str, meant: str | None) -> None:
    assert nearest(word, KEYS) == meant


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("learning_rate", ["lr", "momentum"], "lr"),
        ("torch.optim.SGDD", ["torch.optim.sgd", "torch.optim.SGD"], "torch.optim.SGD"),
        ("torch.optim.adamw", ["torch.optim.SGD", "torch.optim.AdamW"], "torch.optim.AdamW"),
        ("resnet81", ["resnet18", "lenet5"], "resnet18"),
        ("test", ["train", "evaluate", "predict"], "evaluate"),
        ("ckpt", ["checkpoint", "images"], "checkpoint"),
        ("ir", ["lr", "eps"], "lr"),
        ("gpu", ["auto", "cpu", "cuda"], "cuda"),
        ("up", ["min", "max"], None),
        ("tpu", ["auto", "cpu", "gpu"], None),
        ("lr", ["search.optimizer.lr", "optimizer.lr"], "optimizer.lr"),
        ("val_acc", ["train/accuracy", "val/accuracy"], "val/accuracy"),
    ],
)
def test_names_inside_a_part(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def test_known_words_are_listed_if_none_is_near() -> None:
    assert did_you_mean("resnet", ["resnet18", "lenet5"], "model.") == "; did you mean model.resnet18?"
    assert did_you_mean("xyz", ["resnet18", "lenet5"]) == "; known: lenet5, resnet18"
    assert did_you_mean("xyz", []) == did_you_mean("xyz", map(str, range(31))) == ""
