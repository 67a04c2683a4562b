"""`cnnlab doctor` looks at runs of any kind, and at a short training before the real one."""

import json

from tests.helpers import TINY


def test_a_run_that_learns_is_left_in_peace_and_keeps_its_files(command, run):
    before = {file.name for file in run.iterdir()}
    outcome = command("doctor", f"run={run}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "rate" not in outcome.out.partition("\n\n")[2]
    assert {file.name for file in run.iterdir()} - before == {"doctor.html", "doctor.json"}


def test_a_run_that_diverged_is_told_its_rate(command, train, tmp_path):
    folder = tmp_path / "diverged"
    options = ("optimizer.lr=100", "trainer.gradient_clip_val=null", "trainer.limit_train_batches=20")
    assert train(*TINY, *options, f"hydra.run.dir={folder}").code == 1
    outcome = command("doctor", f"run={folder}", f"output={tmp_path / 'out'}")
    assert outcome.code == 0
    found = json.loads((tmp_path / "out" / "doctor.json").read_text())["findings"]
    assert found[0]["fault"] == "rate_diverges"


def test_a_training_is_looked_at_before_it_is_begun(command, tmp_path):
    outcome = command("doctor", *TINY, "optimizer.lr=1e-4", "output=out")
    assert outcome.code == 0
    record = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert record["run"] is None
    assert record["findings"][0]["fault"] == "rate_too_low"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]  # no run directory is left


def test_a_request_without_a_run_names_the_key(command, run):
    outcome = command("doctor", "run=nowhere")
    assert outcome.code == 2
    assert "run: there is no run in nowhere" in outcome.err
    (run / "config.yaml").write_text("model: {_target_: os.system}\ndata: {}\n")
    outcome = command("doctor", f"run={run}")
    assert (outcome.code, "os.system" in outcome.err) == (2, True)
