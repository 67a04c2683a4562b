"""How the command line changes and replaces parts of a run."""

from pathlib import Path
from typing import Any

import hydra
import pytest

from cnnlab.config import ROOT, register_configs
from cnnlab.config.parts import own_names
from cnnlab.config.settings import plain


def compose(*arguments: str, command: str = "train") -> dict[str, Any]:
    register_configs(Path.cwd(), command)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return plain(hydra.compose(command, list(arguments)))


ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}


@pytest.mark.parametrize(
    "arguments",
    [
        ("optimizer={_target_:torch.optim.AdamW,lr:0.01}",),
        ("optimizer._target_=torch.optim.AdamW", "optimizer.lr=0.01"),
        ("optimizer.lr=0.01", "optimizer._target_=torch.optim.AdamW"),
    ],
)
def test_another_class_starts_without_the_options_of_the_former(arguments: tuple[str, ...]) -> None:
    assert compose("recipe=fast", *arguments)["optimizer"] == ADAM


def test_options_that_no_file_lists_are_accepted() -> None:
    config = compose("optimizer.eps=0.1", "trainer.fast_dev_run=true", "model.dropuot=1", "loss.reduction=sum")
    assert (config["optimizer"]["eps"], config["optimizer"]["momentum"]) == (0.1, 0.9)
    assert config["trainer"]["fast_dev_run"] is True
    assert config["model"]["dropuot"] == 1  # found later, by the network's own arguments
    assert config["loss"]["reduction"] == "sum"


def test_several_keys_of_a_part_at_once() -> None:
    config = compose("data={source:digits,classes:null}", "trainer={max_epochs:3}")
    assert (config["data"]["source"], config["data"]["classes"], config["data"]["holdout"]) == ("digits", None, 0.1)
    assert (config["trainer"]["max_epochs"], config["trainer"]["accelerator"]) == (3, "auto")


def test_a_network_by_its_class() -> None:
    assert compose("model={_target_:mynet.Net,depth:4}")["model"] == {"_target_": "mynet.Net", "depth": 4}
    assert compose("model=resnet18", "model._target_=mynet.Net")["model"] == {"_target_": "mynet.Net"}


def test_options_of_a_replaced_part_may_be_deleted_too() -> None:
    for order in (("~model.activation", "model._target_=mynet.Net"), ("model._target_=mynet.Net", "~model.activation")):
        assert compose("model=resnet18", *order)["model"] == {"_target_": "mynet.Net"}


def test_callbacks_and_loggers_by_name() -> None:
    timer = {"_target_": "lightning.pytorch.callbacks.Timer"}
    assert compose(f"callbacks={{mine:{{_target_:{timer['_target_']}}}}}")["callbacks"] == {"mine": timer}
    added = compose("callbacks=early_stopping", f"callbacks.mine._target_={timer['_target_']}")["callbacks"]
    assert (list(added), added["mine"]) == (["early_stopping", "mine"], timer)
    logger = {"_target_": "lightning.pytorch.loggers.CSVLogger"}
    assert compose(f"logger={{csv:{{_target_:{logger['_target_']}}}}}")["logger"] == {"csv": logger}
    assert list(compose(f"logger.csv._target_={logger['_target_']}")["logger"]) == ["tensorboard", "csv"]


def test_a_key_outside_of_the_parts_must_exist() -> None:
    with pytest.raises(Exception, match="Could not override 'optimiser.lr'"):
        compose("optimiser.lr=1")
    with pytest.raises(Exception, match="Could not override 'optimizer.lr'"):
        compose("optimizer.lr=1", command="describe")


def test_a_class_gives_its_name_to_the_part() -> None:
    assert own_names(["model._target_=mynet.Net", "seed=1"]) == {"model": "Net"}
    assert own_names(["model={_target_: mynet.Net, depth: 4}", "data={source: digits}"]) == {"model": "Net"}
    assert own_names(["model=resnet18", "model.width=2"]) == {}
