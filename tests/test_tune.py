"""The command `cnnlab tune`; the outcomes of trials are tested in tests/search/test_trials.py."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

from cnnlab.config.paths import ROOT
from cnnlab.search.space import overrides, read_space, suggest

SPACES = sorted(file.stem for file in (ROOT / "conf" / "search").glob("*.yaml"))
DIGITS = ("model=lenet5", "data=digits", "data.batch_size=32", "logger=none", "trainer.accelerator=cpu")
STEP = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1")

WRONG = {
    "trials=3": "search=NAME must be given; known: architecture, augmentation, easier, empty, guide, ",
    "search=optimiser": "search=optimiser is not known; did you mean search=optimizer?",
    "search=optimizer trails=3": "trails is not a key; did you mean trials?",
    "search=optimizer trials=0": "trials must be 1 or more, got 0",
    "search=optimizer trials=many": "trials must be a whole number, got 'many'",
    "search=optimizer sampler=tpo": "sampler must be one of tpe, random, got 'tpo'; did you mean tpe?",
    "search=optimizer pruner=mean": "pruner must be one of median, none, got 'mean'",
    "search=optimizer objective=foo": "objective must list two figures or more, such as [accuracy,macs]",
    "search=optimizer objective=[accuracy,flops]": "objective: flops is not known; did you mean macs?",
    "search=optimizer objective=[accuracy,macs] pruner=median": "pruner: with several objectives no trial can be",
    "search=optimizer seeds_per_trial=0": "seeds_per_trial must be 1 or more, got 0",
    "search=optimizer n_jobs=0": "n_jobs must be 1 or more, got 0",
    "search=optimizer warmup_epochs=-1": "warmup_epochs must be 0 or more, got -1",
    "search=optimizer timeout=0": "timeout must be above 0, got 0",
    "search=optimizer timeout=long": "timeout must be a number or null, got 'long'",
    "search=optimizer storage=nonsense": "storage: nonsense cannot be used",
    "search=optimizer protocol=article": "protocol: with article, a search would choose by the test images",
    "search=optimizer resume=auto": "resume: leave it out; the same command resumes a search by itself",
    "search=optimizer ~optimizer.momentum": "a search takes only key=value",
    "search=optimizer model=lenet6": "model=lenet6 is not known; did you mean model=lenet5?",
    "search=optimizer data.path=nowhere": "data.path",
    "search=architecture model=vgg11": "search: model.normalization is not a key",
    "search=misspelt": "search: optimizer.ir is not a key; did you mean optimizer.lr?",
    "search=unknown": "search: recipe=fats is not known; did you mean recipe=fast?",
    "search=wide": "model.width must be a number, got 'broad'",
    "search=steep": "search: optimizer.lr must be 0 or more, got -1.0",
    "search=empty": "search: optimizer.lr: float must be two numbers",
    "search=peeks": "search: protocol decides how trials are scored; it must be the same for all",
    "search=easier": "search: data.holdout decides how trials are scored; it must be the same for all",
    "search=lengths budget=60": "search: trainer.max_epochs: the budget decides how long a trial is",
    "search=guide": "protocol: with article, a search would choose by the test images",
    "-m search=optimizer,recipe": "-m: cnnlab tune does not sweep",
}
OWN = {
    "misspelt": "optimizer.ir: {float: [0.1, 1.0]}",
    "unknown": "recipe: {choice: [fast, fats]}",
    "wide": "model.width: {choice: [1.0, broad]}",
    "steep": "optimizer.lr: {float: [-1.0, 1.0]}",
    "empty": "optimizer.lr: {float: []}",
    "peeks": "protocol: {choice: [holdout, article]}",
    "easier": "data.holdout: {float: [0.01, 0.2]}",
    "lengths": "trainer.max_epochs: {choice: [3, 5]}",
    "guide": "experiment: {choice: [article, demo]}",
    "mine": "recipe: {choice: [article, speedrun]}\nmodel.width: {float: [0.5, 1.0], step: 0.5}",
}


@pytest.fixture
def tune(command, tmp_path):
    """Return a function that runs `cnnlab tune` in a folder with search spaces of the user."""
    folder = tmp_path / "conf" / "search"
    folder.mkdir(parents=True)
    for name, text in OWN.items():
        (folder / f"{name}.yaml").write_text(text)
    return lambda *arguments: command("tune", *arguments)


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_before_anything_trains(tune, tmp_path, arguments):
    outcome = tune("model=lenet5", "data=digits", *arguments.split())
    assert (outcome.code, WRONG[arguments] in outcome.err) == (2, True), outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("search", SPACES)
def test_trials_of_every_shipped_space_train(train, search):
    space = read_space(yaml.safe_load((ROOT / "conf" / "search" / f"{search}.yaml").read_text()))
    values = suggest(space, optuna.create_study(sampler=optuna.samplers.RandomSampler(1)).ask())
    outcome = train(*DIGITS, *STEP, *overrides(values))
    assert outcome.code == 0, outcome.err


@pytest.mark.slow  # their spaces are tried above
@pytest.mark.parametrize("search", SPACES)
def test_a_search_of_every_shipped_space_begins(tune, search):
    outcome = tune(f"search={search}", *DIGITS, "timeout=0.000001")  # over before the first trial
    assert (outcome.code, outcome.err) == (1, "No trial was completed.\n")


def test_help_names_spaces_and_keys_without_torch(tmp_path):
    program = (
        "import sys, runpy; sys.argv = ['tune', '--help']\n"
        "try: runpy.run_module('cnnlab.tune', run_name='__main__')\n"
        "finally: assert not {'torch', 'lightning', 'matplotlib', 'optuna'} & set(sys.modules), 'imported too much'"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("search=NAME", "sampler_seed=0", "warmup_epochs=null", *SPACES):
        assert text in done.stdout


def test_without_optuna_the_message_says_what_to_install(tune, monkeypatch):
    for name in ("optuna", "cnnlab.search.study"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, "cnnlab.search.study", raising=False)
    outcome = tune("search=optimizer", *DIGITS)
    assert (outcome.code, outcome.err) == (2, "tune needs a package: pip install 'cnnlab[tune]'\n")


def test_a_study_leaves_its_record_and_a_best_configuration_that_trains(tune, command, train, tmp_path):
    scored = ("select=val/balanced_accuracy", "data.folds=2", "data.fold=1")
    arguments = ("search=mine", "protocol=holdout", *scored, *DIGITS, *STEP, "trials=2", "n_jobs=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.isatty", lambda: True)
        outcome = tune(*arguments)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "runs" / "lenet5_mine"
    record = json.loads((folder / "tune.json").read_text())
    assert record["counts"] == {"completed": 2}
    assert {"history.png", "slices.png", "study.db", "trials"} <= {file.name for file in folder.iterdir()}
    best = folder / record["best"]["directory"]
    assert record["best"]["value"] == json.loads((best / "summary.json").read_text())["val_balanced_accuracy"]
    assert record["select"] == "val/balanced_accuracy"
    assert "val balanced accuracy" in (folder / "experiment" / "best.yaml").read_text()

    program, *suggested, seeds = shlex.split(outcome.err.rpartition("Next: ")[2].replace("\\\n", ""))
    assert (program, suggested[0], seeds) == ("cnnlab", "train", "seeds=[1,2,3]")
    assert train(*suggested[1:], "logger=none", "hydra.run.dir=again").code == 0
    one, other = (yaml.safe_load((run / "config.yaml").read_text()) for run in (best, Path("again")))
    assert one | {"name": "lenet5_mine_best"} == other
    names = [json.loads((run / "summary.json").read_text())["recipe"] for run in (best, Path("again"))]
    assert names[0] == names[1] != "fast"

    again = tune(*arguments)
    assert (again.code, "started" in again.out) == (0, False)
    refused = tune(*arguments, "optimizer.momentum=0.5")
    assert (refused.code, "runs/lenet5_mine holds a study with optimizer.momentum" in refused.err) == (2, True)
    assert command("compare", "runs=runs/lenet5_mine").code == 0


def test_a_study_of_several_objectives_leaves_a_front_whose_points_train(tune, command, train, tmp_path):
    several = ("objective=[accuracy,macs]", "seeds_per_trial=2", "seed=3")
    arguments = ("search=mine", "protocol=holdout", *several, *DIGITS, *STEP, "trials=2", "n_jobs=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.isatty", lambda: True)
        outcome = tune(*arguments)
    assert outcome.code == 0, outcome.err
    assert "2 trials with seeds 3, 4: up to 4 trainings of 1 epoch\n" in outcome.out
    folder = tmp_path / "runs" / "lenet5_mine"
    record = json.loads((folder / "tune.json").read_text())
    assert (record["objective"], record["seeds"], record["best"]) == (["accuracy", "macs"], [3, 4], None)
    assert {"front.png", "tune.csv", "study.db"} <= {file.name for file in folder.iterdir()}
    for trial in record["trials"]:
        runs = [folder / "trials" / f"{trial['number']:03}_seed{seed}" / "summary.json" for seed in (3, 4)]
        accuracies = [json.loads(run.read_text())["val_accuracy"] for run in runs]
        assert trial["values"]["accuracy"] == pytest.approx(sum(accuracies) / 2)

    suggested = outcome.err.partition("Next: ")[2].replace("\\\n", "").strip().splitlines()
    assert len(suggested) == len(record["front"])
    program, *first, seeds = shlex.split(suggested[0])
    assert (program, first[0], seeds) == ("cnnlab", "train", "seeds=[5,6,7]")
    assert train(*first[1:], "logger=none", "hydra.run.dir=again").code == 0
    assert "started" not in tune(*arguments).out
    refused = tune(*arguments, "objective=null")
    assert "holds a study with objective=[accuracy,macs] instead of null" in refused.err
    assert command("compare", "runs=runs/lenet5_mine").code == 0


@pytest.mark.slow
def test_a_study_whose_trials_all_fail_says_why(tune, tmp_path):
    outcome = tune("search=optimizer", *DIGITS, *STEP, "trials=1", "trainer.devices=many")
    assert outcome.code == 1
    assert "No trial was completed; 1 failed, the last: exit code 2: trainer" in outcome.err
