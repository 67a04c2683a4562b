"""Every configuration of conf/ and experiments/, and the user's own files."""

import json
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
    assert train(*DIGITS, f"recipe={recipe}", "freeze=null").code == 0  # one epoch has no room for it


@pytest.mark.parametrize("recipe", names("conf/recipe"))
def test_every_recipe_clips_and_accumulates_gradients(train, tmp_path, recipe):
    options = ("trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=4")
    assert train(*DIGITS, f"recipe={recipe}", "freeze=null", *options, "hydra.run.dir=run").code == 0
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
    file = (ROOT / "experiments" / f"{experiment}.yaml").read_text()
    path = [] if "override /data: digits" in file else [f"data.path={parquet_folder}"]
    single = ["hydra.mode=RUN", *(["budget=null"] if "\nbudget:" in file else [])]  # of a sweep; short
    assert train(f"experiment={experiment}", "logger=none", *single, *STEP, *path).code == 0


def test_a_choice_of_loggers_can_be_several(train, tmp_path):
    assert train(*DIGITS, "logger=[tensorboard,wandb]", "logger.wandb.offline=true", "hydra.run.dir=run").code == 0
    assert (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "wandb").exists()


def test_the_commented_configuration_can_be_shown(train):
    outcome = train("--cfg", "job", "model=resnet18")
    assert outcome.code == 0
    assert "cnnlab.models.resnet.ResNet" in outcome.out


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


def test_only_the_chosen_experiment_is_loaded(train, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "torn.yaml").write_text("a: [1,\n")
    (tmp_path / "experiments" / "whole.yaml").write_text("seed: 3\n")
    outcome = train("--cfg", "job", "experiment=whole")
    assert (outcome.code, "seed: 3\n" in outcome.out, "name: whole\n" in outcome.out) == (0, True, True)


def test_an_experiment_can_extend_another(train, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "first.yaml").write_text("seed: 3\n")
    (tmp_path / "experiments" / "second.yaml").write_text("defaults: [first, _self_]\nprotocol: article\n")
    outcome = train("--cfg", "job", "experiment=second")
    assert (outcome.code, "seed: 3\nprotocol: article\n" in outcome.out) == (0, True), outcome.out
    assert "name: second\n" in outcome.out
