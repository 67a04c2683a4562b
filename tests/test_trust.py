"""Test which functions files of strangers may name; test_train_refusals.py and test_predict.py try whole commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cnnlab.config.paths import ROOT
from cnnlab.errors import RequestError
from cnnlab.trust import NETWORKS, PARTS_OF_A_RUN, Trusted, check_trusted

STRANGE = """
import os
from pathlib import Path
from torch import nn

Path(__file__).with_name("attacked").touch()

class Net(nn.Module):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module in the working directory that leaves a file when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = "strange" + re.sub(r"\W", "", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(STRANGE)
    return name


def check(*targets: object, trust: Trusted = None, file: str = "a.ckpt", known: tuple[str, ...] = NETWORKS) -> None:
    check_trusted(targets, known, trust, Path(file), "checkpoint")


def test_all_parts_that_cnnlab_ships_are_known() -> None:
    checked = 0
    for group in ("model", "data", "recipe", "logger", "callbacks"):
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            targets = re.findall(r"_target_: ([\w.]+)", file.read_text())
            check(*targets, known=NETWORKS if group == "model" else PARTS_OF_A_RUN)
            checked += len(targets)
    assert checked > 40


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.RMSprop",
        "torchvision.transforms.v2.GaussianNoise",
        "torch.optim.lr_scheduler.StepLR",
        "torch.nn.NLLLoss",
        "lightning.pytorch.callbacks.ModelSummary",
        "lightning.pytorch.loggers.CSVLogger",
    ],
)
def test_a_run_may_name_the_parts_of_libraries(target: str) -> None:
    check(target, known=PARTS_OF_A_RUN)
    with pytest.raises(RequestError, match="is not loaded"):
        check(target)  # no network


@pytest.mark.parametrize(
    "target",
    [
        *("os.mkdir", "builtins.exec", "torch.hub.load", "torch.load", "cnnlab.models.lenet.nn.Linear", "lpips.LPIPS"),
        *("cnnlab.models.lenet.Tensor", "cnnlab.models.lenet:nn", "cnnlab.models.lenet.LeNet5.load_state_dict"),
        *("cnnlab.libraries.contextlib", "cnnlab.runs.directory.discard_unused", "cnnlab.models", "LeNet5"),
        *("torchvision.models.resnet18", "timm.create_model", "torch.optim.lr_scheduler.partial", "", ".os", "a..b"),
        *(None, 3, ["os.mkdir"], "cnnlab.models.lenet.LeNet5\n", "../evil.Net"),
    ],
)
def test_other_names_are_refused(target: object) -> None:
    with pytest.raises(RequestError, match="^checkpoint: "):
        check(target)
    with pytest.raises(RequestError, match="^checkpoint: "):
        check(target, known=PARTS_OF_A_RUN)


def test_all_names_are_checked_before_one_is_imported(module: str) -> None:
    with pytest.raises(RequestError, match="it names os.mkdir, which may run any code; trust=os allows it"):
        check(f"{module}.Net", "os.mkdir", trust=module)
    assert not Path("attacked").exists()


def test_a_name_is_trusted_on_the_command_line_in_the_environment_and_in_ones_own_files(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{module}.Net"
    with pytest.raises(RequestError, match=f"trust={module} allows it"):
        check(name)
    with pytest.raises(RequestError, match=f"trust={module} allows it"):
        check(name, trust=module[:-1])  # a part of the name only
    assert not Path("attacked").exists()
    for trust in (module, name, ["other", module]):
        check(name, trust=trust)
    with monkeypatch.context() as context:
        context.setenv("CNNLAB_TRUST", f"other, {module}")
        check(name)
    for file in ("conf/model/mine.yaml", "experiments/mine.yaml"):
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text(f"model:\n  _target_: {name}\n")
        check(name)
        Path(file).unlink()


def test_a_trusted_module_is_no_way_to_another(module: str) -> None:
    with pytest.raises(RequestError, match="is defined in another module, posix"):
        check(f"{module}.os.mkdir", trust=module)


@pytest.mark.parametrize("trust", [3, [3], "", [""], {"mynet": True}])
def test_a_wrong_trust_is_refused(trust: object) -> None:
    with (
        pytest.raises(RequestError, match="^trust must be the name of a module or a list of names")
        if trust
        else (pytest.raises(RequestError, match="^trust must|is not loaded"))
    ):
        check("mynet.Net", trust=trust)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("file", [".", "checkpoints/best.ckpt"])
def test_a_module_inside_the_run_directory_is_never_imported(module: str, file: str) -> None:
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text(f"_target_: {module}.Net\n")
    with pytest.raises(RequestError, match="which may run any code"):  # its conf is the stranger's too
        check(f"{module}.Net", file=file)
    with pytest.raises(RequestError, match=f"the module {module} is inside this run directory"):
        check(f"{module}.Net", file=file, trust=module)
    assert not Path("attacked").exists()


def test_files_in_the_working_directory_do_not_replace_libraries(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text(STRANGE)
    command = [sys.executable, "-m", "cnnlab.compare", "runs=nothing"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, "runs: nothing does not exist" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "attacked").exists()
