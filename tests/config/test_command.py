"""Composition, every shipped configuration, and what a wrong request is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cnnlab.build.network import build_network
from cnnlab.config.paths import CONFIG_GROUPS, ROOT

STEP = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"),
    *("trainer.limit_test_batches=1", "data.batch_size=4", "data.eval_batch_size=4"),
)
DIGITS = ("data=digits", "model=lenet5", "logger=none", *STEP)


def names(folder: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / folder).glob("*.yaml"))


def test_every_group_has_configs():
    assert all(names(f"conf/{group}") for group in CONFIG_GROUPS)


# Choices that stand for a whole library need the name of one of its networks.
TEST_NETWORKS = {"timm": "test_vit", "torchvision": "squeezenet1_1"}


def chosen(model: str) -> list[str]:
    return [f"model={model}", *([f"model.name={TEST_NETWORKS[model]}"] if model in TEST_NETWORKS else [])]


# They have the layers of shallower ones, and take a step here; with `make test-all` they are trained by the command.
DEEP = {
    *("resnet34", "resnet50", "resnet101", "resnet152", "vgg13", "vgg16", "vgg19"),
    *("resnet32", "resnet44", "resnet56", "resnet110", "plain32", "plain44", "plain56"),
}


def except_deep(models: list[str]) -> list[Any]:
    return [pytest.param(model, marks=pytest.mark.slow if model in DEEP else ()) for model in models]


def architecture(model: str) -> dict[str, Any]:
    """What conf/model has of a model, as Hydra composes it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = OmegaConf.to_container(compose(overrides=[f"+model={model}"]).model)
    assert isinstance(composed, dict)
    return {str(key): value for key, value in composed.items()}


@pytest.mark.parametrize("model", except_deep(names("conf/model")))
def test_every_model_trains(train, model):
    assert train(*DIGITS, *chosen(model)).code == 0


@pytest.mark.parametrize("model", sorted(DEEP))
def test_every_deep_model_is_composed_and_takes_a_step(model):
    network = build_network(architecture(model), classes=10, image_size=32)
    logits = network(torch.randn(2, 3, 32, 32))
    torch.nn.functional.cross_entropy(logits, torch.arange(2)).backward()
    assert logits.shape == (2, 10)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


# LeNet-5 is made for 32 pixels, VGG halves its images five times, and torchvision's networks take three channels.
NOT_28_GREY = {"lenet5", "lenet5_1998", "vgg11", "vgg13", "vgg16", "vgg19", "torchvision"}


@pytest.mark.parametrize("model", except_deep(sorted(set(names("conf/model")) - NOT_28_GREY)))
def test_every_model_trains_on_28_grey_pixels(model):
    config = architecture(model)
    if model in TEST_NETWORKS:
        config["name"] = "test_resnet"
    torch.manual_seed(0)
    network = build_network(config, classes=7, image_size=28, channels=1)
    trained = [p for p in network.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    optimizer = torch.optim.SGD(trained, lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(torch.randn(4, 1, 28, 28)), torch.arange(4))
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(not torch.equal(old, new) for old, new in zip(before, trained, strict=True))


@pytest.mark.parametrize("recipe", names("conf/recipe"))
def test_every_recipe_trains(train, recipe):
    assert train(*DIGITS, f"recipe={recipe}").code == 0


@pytest.mark.parametrize("recipe", names("conf/recipe"))
def test_every_recipe_clips_and_accumulates_gradients(train, tmp_path, recipe):
    options = ("trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=4")
    assert train(*DIGITS, f"recipe={recipe}", *options, "hydra.run.dir=run").code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 2


@pytest.mark.parametrize("data", names("conf/data"))
def test_every_data_trains(train, parquet_folder, data):
    path = [] if data == "digits" else [f"data.path={parquet_folder}"]
    assert train(*DIGITS, f"data={data}", *path).code == 0


@pytest.mark.parametrize("trainer", names("conf/trainer"))
def test_every_trainer_trains_or_says_that_its_device_is_missing(train, trainer):
    outcome = train(*DIGITS, f"trainer={trainer}")  # several processes: tests/runs/test_several_processes.py
    if trainer == "gpu" and not torch.cuda.is_available():
        assert (outcome.code, outcome.err.startswith("trainer")) == (2, True)
    else:
        assert outcome.code == 0


@pytest.mark.parametrize("callbacks", names("conf/callbacks"))
def test_every_callback_trains(train, callbacks):
    learns = (
        ["model=resnet20", "model.width=0.5", "data.image_size=16", "data.batch_size=16"]
        if callbacks == "lr_finder"
        else []
    )  # in a hundred steps
    assert train(*DIGITS, *learns, f"callbacks={callbacks}").code == 0


@pytest.mark.parametrize("logger", names("conf/logger"))
def test_every_logger_logs(train, logger, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    offline = ["logger.wandb.offline=true"] if logger == "wandb" else []
    assert train(*DIGITS, f"logger={logger}", *offline, "hydra.run.dir=run").code == 0
    left = {"wandb": "run/wandb", "mlflow": "mlflow.db", "tensorboard": "run/tensorboard", "none": "run/metrics.csv"}
    assert (tmp_path / left[logger]).exists()


@pytest.mark.parametrize("experiment", names("experiments"))
def test_every_experiment_trains(train, parquet_folder, experiment):
    built_in = "override /data: digits" in (ROOT / "experiments" / f"{experiment}.yaml").read_text()
    path = [] if built_in else [f"data.path={parquet_folder}"]
    one = "hydra.mode=RUN"  # of a sweep
    assert train(f"experiment={experiment}", "logger=none", one, *STEP, *path).code == 0


def test_a_choice_of_loggers_can_be_several(train, tmp_path):
    assert train(*DIGITS, "logger=[tensorboard,wandb]", "logger.wandb.offline=true", "hydra.run.dir=run").code == 0
    assert (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "wandb").exists()


def test_the_commented_configuration_can_be_shown(train):
    outcome = train("--cfg", "job", "model=resnet18")
    assert outcome.code == 0
    assert "cnnlab.models.resnet.ResNet" in outcome.out


# --- wrong requests --------------------------------------------------------------------------------------------------

WRONG = {
    "model=resnet81": "model=resnet81 is not known; did you mean model=resnet18?",
    "modle=lenet5": "modle is not a key; did you mean model?",
    "experiment=dem": "did you mean experiment=demo?",
    "optimizer.momentun=0.9": "optimizer.momentun is not a key; did you mean optimizer.momentum?",
    "+optimizer.momentun=0.9": "optimizer.momentun is not a key; did you mean optimizer.momentum?",
    "+trainer.max_epoch=3": "trainer.max_epoch is not a key; did you mean trainer.max_epochs?",
    "+seeds=3": "seeds is not a key; did you mean seed?",
    "hydra.run.dirr=x": "did you mean hydra.run.dir?",
    "data.batch_size=many": "data.batch_size must be a whole number, got 'many'",
    "data.batch_size=0": "data.batch_size must be 1 or more, got 0",
    "data.holdout=1.5": "data.holdout must be between 0 and 1, got 1.5",
    "data.mean=[1,2]": "data.mean must have one value for each of red, green and blue",
    "data.image_size=8": "model: images of 3x8x8",
    "augmentation.sizes=[[0,31]]": "augmentation.sizes: model: images of 3x31x31",
    "data.image_size=31": "the smallest size that works is 32 pixels",
    "data.image_size=36": "sizes that work: 32 to 35 pixels",
    "model=timm": "model.name must be given: model.name=...",
    "model=timm model.name=resnet18dd": "model.name resnet18dd is not a network of timm; did you mean resnet18d?",
    "model=timm model.name=resnet18 +model.drop=1": "model.drop is not an option of resnet18",
    "model=torchvision model.name=resnet81": "resnet81 is not a classifier of torchvision; did you mean resnet18?",
    "model=torchvision model.name=alexnet": "the smallest size that works is 63 pixels",
    "model=resnet18 model.width=0": "model.width must be above 0, got 0",
    "data.cache=/dev/null/x": "data.cache: /dev/null/x",
    "optimizer.lr=fast": "optimizer.lr must be a number",
    "optimizer.lr=-1": "optimizer.lr: Invalid learning rate: -1",
    "optimizer=null": "optimizer must have a _target_",
    "optimizer._target_=torch.optim.SGDD": "optimizer._target_: 'torch.optim.SGDD' cannot be imported",
    "schedule.warmup=3": "schedule.warmup must be at least 0 and below 1, got 3",
    "loss.label_smoothing=2": "loss: label_smoothing must be between 0.0 and 1.0",
    "averaging.decay=1": "averaging.decay must be at least 0 and below 1, got 1",
    "augmentation.pad=40": "augmentation.pad must be less than image_size",
    "augmentation.flip=sometimes": "augmentation.flip must be one of none, random, alternating, got 'sometimes'",
    "augmentation.mixup=-1": "augmentation.mixup must be 0 or more, got -1",
    "augmentation.cutmix=yes": "augmentation.cutmix must be a number",
    "augmentation.erasing=2": "augmentation.erasing must be from 0 to 1, got 2",
    "augmentation.mixupp=1": "augmentation.mixupp is not a key; did you mean augmentation.mixup?",
    "model.activation=rellu": "got 'rellu'; did you mean relu?",
    "protocol=holdouts": "got 'holdouts'; did you mean holdout?",
    "seed=-1": "seed",
    "trainer.max_epochs=0": "trainer.max_epochs must be a number above 0, got 0",
    "trainer.max_epochs=many": "trainer.max_epochs must be a number above 0, got 'many'",
    "trainer.max_steps=0": "trainer.max_steps must be 1 or more, or -1 for no limit, got 0",
    "trainer.max_steps=1.5": "trainer.max_steps must be a whole number",
    "tta=flop": "tta must be one of none, flip, flip_translate, got 'flop'; did you mean flip?",
    "bias_lr_factor=0": "bias_lr_factor must be above 0, got 0",
    "bias_lr_factor=high": "bias_lr_factor must be a number, got 'high'",
    "decay_norms_and_biases=some": "decay_norms_and_biases must be true or false, got 'some'",
    "trainer.precision=bf17": "did you mean bf16?",
    "trainer.precision=bf16-true": "trainer.precision must be auto, 32-true, bf16-mixed or 16-mixed, got 'bf16-true'",
    "trainer.limit_train_batches=-1": "trainer.limit_train_batches",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches must be above 0, got 0",
    "trainer.limit_test_batches=0": "trainer.limit_test_batches must be above 0, got 0",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be a whole number, 1 or more, got 0",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch must be a whole number, 1 or more, got 0",
    "logger=null": "logger=null: logger takes a name; known: mlflow, none, tensorboard, wandb",
    "resume=größe": "resume: größe does not exist",
    "trainer.devices=-3": "trainer.devices must be a number, a list such as [0, 2], or auto, got -3",
    "trainer.devices=many": "trainer.devices must be a number",
    "trainer.devices=[7]": "trainer.devices",
    "trainer.devices=5": "data.batch_size must be at least the number of devices, 5, got 4",
    "trainer.num_nodes=2": "trainer.num_nodes: torchrun or srun must start a run on several machines",
    "trainer.strategy=ddq": "trainer.strategy must be one of auto, ddp, ddp_find_unused_parameters_true, got 'ddq'",
    "trainer.strategy=fsdp": "trainer.strategy must be one of",
    "data.residence=hosts": "data.residence must be one of auto, device, host, stream, got 'hosts'; did you mean host?",
    "data.workers=-1": "data.workers must be 0 or more, got -1",
    "trainer.compile=fast": "trainer.compile must be one of off",
    "recipe=speedrun optimizer.ns_steps=0": "optimizer.ns_steps must be 1 or more, got 0",
    "recipe=speedrun optimizer.momentum=1": "optimizer.momentum must be at least 0 and below 1, got 1",
    "recipe=speedrun optimizer.sgd_lr=-1": "optimizer.sgd_lr must be 0 or more, got -1",
    "recipe=speedrun optimizer.sgd_lrr=1": "optimizer.sgd_lrr is not a key; did you mean optimizer.sgd_lr?",
    "recipe=resnet_paper schedule.milestones=[32000,48000]": "schedule.milestones must be rising shares of the steps",
    "recipe=resnet_paper schedule.milestones=0.5": "schedule.milestones must be a list",
    "recipe=resnet_paper schedule.gama=0.5": "schedule.gama is not a key; did you mean schedule.gamma?",
    "trainer.profile=maybe": "trainer.profile must be true or false, got 'maybe'",
    "resume=nowhere": "resume: nowhere does not exist",
    "data.path=nowhere": "data.path",
    "data=cifar10 data.source=5": "data.source must be the name of a data set, got 5",
    "-m seed=0,1 --cfg job": "--cfg: jobs of a sweep have their own configurations",
    "model=[lenet5": "is not of the form key=value",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(train, tmp_path, override):
    outcome = train(*DIGITS, *override.split(" "))
    assert outcome.code == 2
    assert WRONG[override] in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.*"))


def test_an_own_file_may_not_take_a_shipped_name(train, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "demo.yaml").write_text("seed: 3\n")
    outcome = train(*DIGITS, "experiment=demo")
    assert (outcome.code, "rename this file; cnnlab has one of the same name" in outcome.err) == (2, True)


def test_an_own_file_that_is_not_yaml_is_named(train, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "torn.yaml").write_text("a: [1,\n")
    outcome = train(*DIGITS, "experiment=torn")
    assert (outcome.code, "torn.yaml is not readable YAML" in outcome.err) == (2, True)


def test_a_key_that_an_experiment_misspells_is_found(train, tmp_path: Path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "misspelt.yaml").write_text("optimiser: {lr: 0.1}\n")
    outcome = train(*DIGITS, "experiment=misspelt")
    assert (outcome.code, "optimiser is not a key; did you mean optimizer?" in outcome.err) == (2, True)


def test_a_damaged_file_is_named(train, parquet_folder):
    file = parquet_folder / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    outcome = train(*DIGITS, "data=cifar10", f"data.path={parquet_folder}")
    assert (outcome.code, f"{file} is not a readable parquet file" in outcome.err) == (2, True)


def test_cifar10_that_cannot_be_found_is_explained_in_two_lines(train, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    outcome = train()
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 2
    assert "data.path=" in outcome.err
    assert "data=digits" in outcome.err
