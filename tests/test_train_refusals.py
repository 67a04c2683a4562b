"""Test which requests `cnnlab train` refuses, and that it leaves files as they were."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from cnnlab import train as train_module
from tests.helpers import TINY, configuration, files, summary


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a completed run of two epochs; copy it before a command that may change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["cnnlab.train", *TINY, f"hydra.run.dir={run}"])
        with pytest.raises(SystemExit, match="0"):
            train_module.main()
    return run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainer.max_epochs=1", "trainer.max_epochs=1: the run has trained 2 epochs, and cannot be made shorter"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5: the run has trained 2 epochs"),
        ("trainer.max_steps=4", "trainer.max_steps=4: the run has trained 6 steps"),
        ("trainer.max_time=00:00:00:00", "trainer.max_time=00:00:00:00: the run has trained"),
        ("trainer.max_epochs=many", "trainer.max_epochs must be a number"),
        ("trainer.max_time=soon", "max_time"),
        ("~trainer.max_steps", "a resumed run needs its trainer.max_steps"),
        ("trainer.devices=0", "trainer.devices must be"),
    ],
)
def test_a_request_that_a_resumed_run_cannot_carry_out_changes_nothing(finished, train, tmp_path, change, message):
    shutil.copytree(finished, tmp_path / "run")
    before = files(tmp_path / "run")
    outcome = train("resume=run", change)
    assert (outcome.code, message in outcome.err, len(outcome.err.splitlines())) == (2, True, 1), outcome.err
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing or damaged"),
        (lambda run: (run / "config.yaml").write_text("[1, 2"), "config.yaml is missing or damaged"),
        (lambda run: (run / "summary.json").write_text("{"), "summary.json is damaged"),
        (lambda run: (run / "checkpoints" / "last.ckpt").unlink(), "there is no checkpoint"),
        (lambda run: (run / "checkpoints" / "last.ckpt").write_bytes(b"PK torn"), "is damaged or not a checkpoint"),
    ],
)
def test_a_damaged_run_is_not_resumed_and_stays_as_it_is(finished, train, tmp_path, damage, message):
    shutil.copytree(finished, tmp_path / "run")
    damage(tmp_path / "run")
    before = files(tmp_path / "run")
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert (outcome.code, message in outcome.err, len(outcome.err.splitlines())) == (2, True, 1), outcome.err
    assert files(tmp_path / "run") == before


def test_a_resumed_run_does_not_overwrite_another_run(finished, train, tmp_path):
    for name in ("one", "other"):
        shutil.copytree(finished, tmp_path / name)
    before = files(tmp_path / "other")
    for resumed in ("one", "one/checkpoints/last.ckpt"):
        outcome = train(f"resume={resumed}", "trainer.max_epochs=3", "hydra.run.dir=other")
        assert (outcome.code, "holds another run" in outcome.err) == (2, True), outcome.err
    assert files(tmp_path / "other") == before


def test_a_complete_run_is_not_continued_elsewhere_unless_it_is_made_longer(finished, train, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    refused = train("resume=run", "hydra.run.dir=other")
    assert (refused.code, refused.err) == (
        2,
        "resume: the run in run is complete; trainer.max_epochs=N makes it longer\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert train("resume=run", "hydra.run.dir=other", "trainer.max_epochs=3").code == 0
    assert summary(tmp_path / "other")["epochs"] == 3


def test_a_checkpoint_alone_is_not_continued_for_less_than_it_has_done(finished, train, tmp_path):
    shutil.copy(finished / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    outcome = train(*TINY, "resume=alone.ckpt", "trainer.max_epochs=1")
    assert (outcome.code, "trainer.max_epochs=1: the run has trained 6 steps" in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_completed_run_keeps_its_record_if_resuming_it_fails_before_the_first_step(
    finished, train, tmp_path, monkeypatch
):
    shutil.copytree(finished, tmp_path / "run")
    before = files(tmp_path / "run")
    monkeypatch.setattr("cnnlab.build.run.build_data", lambda _: 1 / 0)
    assert train("resume=run", "trainer.max_epochs=3").code == 1
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("name", ["metrics.csv", "train.log", "tensorboard", "checkpoints/last.ckpt"])
def test_a_run_with_a_link_that_leads_out_of_it_is_not_resumed(finished, train, tmp_path, name):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "mine").write_text("precious")
    file = tmp_path / "run" / name
    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    file.symlink_to(tmp_path / "mine")
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert (outcome.code, f"run/{name} is a link" in outcome.err) == (2, True), outcome.err
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "part",
    [
        {"callbacks": {"mine": {"_target_": "strange.Callback"}}},
        {"logger": {"mine": {"_target_": "os.mkdir", "save_dir": "attacked"}}},
        {"logger": {"wandb": {"_target_": "lightning.pytorch.loggers.WandbLogger", "project": "theirs"}}},
        {"callbacks": {"mine": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "attacked"}}},
        {"data": {"_target_": "cnnlab.data.datamodule.ImageDataModule", "source": "${oc.env:HOME}"}},
        {"model": {"_target_": "strange.Net"}},
        {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": {"_target_": "strange.rate"}}},
        {"loss": {"_target_": "torch.nn.CrossEntropyLoss", "weight": [{"_target_": "strange.weight"}]}},
        {"loss": {"_target_": "${oc.decode:strange.loss}"}},
        {"schedule": {"_target_": "torch.nn.torch.hub.load"}},
        {"schedule": {"_target_": 5}},
    ],
)
def test_the_record_of_a_stranger_names_no_code(train, tmp_path, part):
    assert train(*TINY, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    config = configuration(tmp_path / "run") | part | {"trust": ["strange", "os"]}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "strange.py").write_text("from pathlib import Path\nPath('attacked').touch()\n")
    outcome = train("resume=run", "trainer.max_epochs=2")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert outcome.err.startswith("resume: run is not loaded: ")
    assert not (tmp_path / "attacked").exists()
    same = [file for file, content in before.items() if file.read_bytes() == content]
    assert {file.name for file in before} - {file.name for file in same} == {"config.yaml"}


def test_a_run_is_not_resumed_with_other_images(train, class_folders):
    """Add a file, which changes the split: training images could choose the best epoch."""
    images = ("data=folder", f"data.path={class_folders}", "data.cache=cache", "logger=none")
    assert train(*TINY, *images, "hydra.run.dir=run").code == 0
    folder = class_folders / "train" / "cat"
    shutil.copy(next(folder.iterdir()), folder / "more.png")
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert outcome.code == 2
    assert "was trained on other images" in outcome.err
    assert summary(class_folders.parent / "run")["epochs"] == 2


@pytest.mark.parametrize("own", [("train.log", "output.log", "errors.log", "notes.txt"), ("train.log",), ()])
def test_a_refused_request_leaves_the_users_own_files(train, tmp_path, own):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in own:
        (folder / name).write_text(f"my own {name}")
    wrong = ("optimizer.lr=fast", "data.path=nowhere", "data.batch_size=0", "resume=nowhere", "unknown=1")
    for arguments in [(*TINY, change, "hydra.run.dir=mine") for change in wrong]:
        assert train(*arguments).code == 2
    assert train("-m", *TINY, "seed=0,1", "data.batch_size=0", "hydra.sweep.dir=mine", "hydra/launcher=basic").code == 2
    assert {file.name: file.read_text() for file in folder.iterdir()} == {name: f"my own {name}" for name in own}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_refused_request_leaves_no_folders(train, command, tmp_path):
    for change in ("optimizer.lr=fast", "data.path=nowhere", "resume=nowhere", "hydra.run.dir=a/b/c model.width=x"):
        assert train(*TINY, *change.split()).code == 2
    assert train("-m", *TINY, "seed=0,1", "data.batch_size=0", "hydra/launcher=basic").code == 2
    assert command("tune", *TINY, "search=optimizer", "trials=0").code == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()  # made by the user
    assert train(*TINY, "optimizer.lr=fast").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../b", "."])
def test_a_name_stays_below_runs(train, tmp_path, name):
    for sweep in ((), ("seeds=2",)):
        outcome = train(*TINY, f"name={name}", *sweep)
        assert (outcome.code, outcome.err.startswith("name must be a folder below runs/")) == (2, True), outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    before = {
        file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file() and file.suffix != ".log"
    }
    outcome = train(*TINY, "hydra.run.dir=run", "seed=1")
    assert (outcome.code, "resume=auto" in outcome.err) == (2, True)
    assert {file: file.read_bytes() for file in before} == before


def test_a_checkpoint_of_another_network_is_refused(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    (tmp_path / "alone.ckpt").write_bytes((tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes())
    outcome = train(*TINY, "model=article", "resume=alone.ckpt")
    assert outcome.code == 2
    assert "holds another network: features.0.weight is (6, 3, 5, 5) there, (64, 3, 4, 4)" in outcome.err
    assert not list(tmp_path.glob("runs/*/*"))  # a wrong request leaves nothing behind


def test_a_resumed_run_keeps_its_own_network(train):
    train(*TINY, "hydra.run.dir=run")
    outcome = train("resume=run", "model=article")
    assert (outcome.code, "model=article" in outcome.err) == (2, True)


def test_a_checkpoint_that_would_run_code_is_refused(train, tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it-ran",)

    torch.save({"cnnlab": {}, "state_dict": Malicious()}, tmp_path / "stranger.ckpt")
    outcome = train(*TINY, "resume=stranger.ckpt")
    assert (outcome.code, "it is not loaded" in outcome.err) == (2, True)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_refused_before_images_are_read(train, tmp_path, monkeypatch, content):
    monkeypatch.setattr("cnnlab.build.run.build_data", lambda settings: pytest.fail("images are read"))
    (tmp_path / "torn.ckpt").write_bytes(content)
    outcome = train(*TINY, "resume=torn.ckpt")
    assert (outcome.code, "torn.ckpt" in outcome.err) == (2, True)
    assert train("model=lenet5", "data.path=nowhere", "resume=torn.ckpt").err == outcome.err
