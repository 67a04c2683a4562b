"""Trials of a study, whose runs are short shell scripts."""

import contextlib
import os
import sqlite3

import pytest
from matplotlib.image import imread

from cnnlab.errors import Interrupted, RequestError
from cnnlab.runs.directory import RunDirectory
from cnnlab.search.figures import draw_study
from cnnlab.search.record import describe_study
from cnnlab.search.score import SCORES
from cnnlab.search.space import read_space
from cnnlab.search.study import Options, SharedStudy
from cnnlab.search.terminal import TrialProgress, print_study
from cnnlab.search.trials import read_epochs
from tests.search.conftest import ABOUT, OPTIONS, SPACE, epochs, run

ENDLESS = epochs(0.1, count=300)


def test_a_study_runs_all_its_trials_whatever_their_outcome(tmp_path, open_study, capsys):
    study = open_study()
    states = run(study, epochs(0.9), ENDLESS, "echo no >&2; exit 3", epochs(0.5, "nan"), epochs(0.95))
    assert [state for _, state in states if state != "running"] == [
        *("completed", "pruned", "failed", "pruned", "completed")
    ]
    record = describe_study(study)
    assert record["counts"] == {"completed": 2, "pruned": 2, "failed": 1}
    assert (record["best"]["number"], record["best"]["value"]) == (4, 0.95)
    reasons = [trial["reason"] for trial in record["trials"]]
    assert reasons == [
        None,
        "pruned after epoch 2: its best val accuracy so far, 10.00%, is below the median of the completed trials",
        "exit code 3: no",
        "diverged: the loss is not finite in epoch 1",
        None,
    ]
    told = RunDirectory(tmp_path / record["trials"][1]["directory"]).read_summary()
    assert told is not None and (told["status"], told["error"]) == ("interrupted", reasons[1])
    assert run(open_study(), "exit 1") == []  # there are enough

    print_study(record, tmp_path)
    printed = capsys.readouterr().out
    assert "2 completed, 2 pruned, 1 failed; 0:0" in printed and "95.00%" in printed
    draw_study(record | {"name": "a", "importance": {"optimizer.lr": 0.7, "model.activation": 0.3}}, tmp_path)
    assert all(imread(tmp_path / name).std() > 0.01 for name in ("history.png", "importance.png", "slices.png"))


def test_trials_run_at_the_same_time(open_study):
    meet = "touch ../{0}.here; while [ ! -f ../{1}.here ]; do sleep 0.01; done; "
    states = run(open_study(2), meet.format(0, 1) + epochs(0.9), meet.format(1, 0) + epochs(0.9), at_once=2)
    assert [state for _, state in states] == ["running", "running", "completed", "completed"]


def test_a_study_gives_up_if_all_trials_fail(open_study):
    assert len(run(open_study(50), "exit 1")) == 2 * 3
    assert [state for _, state in run(open_study(4), epochs(0.9))] == ["running", "completed"]  # the cause is mended


def test_a_run_without_an_accuracy_has_failed(open_study):
    study = open_study(1)
    run(study, """echo '{"status": "completed", "val_accuracy": NaN}' > summary.json""")
    assert describe_study(study)["trials"][0]["reason"] == "its val accuracy is None"


def test_a_run_that_fails_by_itself_was_not_pruned(open_study, monkeypatch):
    monkeypatch.setattr("cnnlab.runs.jobs.POLL_EVERY", 0.5)  # its last epochs are seen when it is over
    study = open_study(2)
    run(study, epochs(0.9), "printf 'epoch,val/accuracy\\n1,0.1\\n2,0.1\\n' > metrics.csv; echo no >&2; exit 1")
    assert [trial["reason"] for trial in describe_study(study)["trials"]] == [None, "exit code 1: no"]


def test_a_trial_that_ends_as_diverged_is_pruned_with_the_reason(open_study):
    record = 'echo \'{"status": "diverged", "error": "the loss is not finite in epoch 1"}\' > summary.json; exit 1'
    study = open_study(2)
    assert run(study, record, epochs(0.9))[:2] == [("000", "running"), ("000", "pruned")]
    assert describe_study(study)["trials"][0]["reason"] == "diverged: the loss is not finite in epoch 1"


def test_ctrl_c_leaves_a_trial_for_the_next_command(tmp_path, open_study):
    interrupt = f"(sleep 0.1; kill -INT {os.getpid()}) & "
    with pytest.raises(Interrupted):
        run(open_study(1), interrupt + epochs(0.9, count=300))
    study = open_study(1)
    assert describe_study(study)["counts"] == {"interrupted": 1}
    before = study.trials()[0].params
    assert run(study, epochs(0.9)) == [("000", "running"), ("000", "completed")]
    assert study.trials()[0].params == before


def test_a_killed_process_leaves_its_trial_to_another(open_study):
    killed, other = open_study(2), open_study(2)
    left, own = killed.take(), other.take()
    assert left is not None and own is not None
    assert (left.trial.number, own.trial.number) == (0, 1)
    assert other.take() is None  # one is running, the other too
    left.lock.release()  # as the system does
    again = other.take()
    assert again is not None and (again.trial.number, again.values) == (0, left.values)


def test_a_run_that_outlives_its_search_is_waited_for(open_study):
    killed, other = open_study(1), open_study(1)
    left = killed.take()
    assert left is not None
    left.lock.release()
    directory = killed.directory(0, 0)
    directory.mkdir()
    with RunDirectory(directory).locked():
        assert other.take() is None
        assert other.has_orphaned_runs()
    assert not other.has_orphaned_runs()
    assert other.take() is not None


def test_no_trial_starts_after_the_timeout(open_study):
    assert run(open_study(), epochs(0.9), timeout=1e-9) == []


def test_the_first_trial_is_what_was_given(open_study):
    claim = open_study(first={"optimizer.lr": 0.1, "model.activation": "relu"}).take()
    assert claim is not None and claim.values == {"optimizer.lr": 0.1, "model.activation": "relu"}


def test_a_study_draws_the_same_whether_it_was_interrupted_or_not(tmp_path, open_study):
    run(open_study(4), epochs(0.9))
    folder = tmp_path / "other"
    folder.mkdir()
    for _ in range(4):
        options = Options(**{**vars(OPTIONS), "trials": len(list((folder / "trials").glob("*.lock"))) + 1})
        run(SharedStudy(folder, None, read_space(SPACE), ABOUT, options, None), epochs(0.9))
    other = SharedStudy(folder, None, read_space(SPACE), ABOUT, OPTIONS, None)
    assert [trial.params for trial in other.trials()] == [trial.params for trial in open_study().trials()]


def test_another_study_in_the_same_folder_is_refused(open_study):
    open_study()
    with pytest.raises(RequestError, match=r"holds a study with optimizer.lr=0.1 instead of 0.2; name=NAME"):
        open_study(about={**ABOUT, "settings": {"optimizer": {"lr": 0.2}}})


def test_a_database_that_cannot_be_used_is_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match="storage: nonsense cannot be used"):
        SharedStudy(tmp_path, "nonsense", read_space(SPACE), ABOUT, OPTIONS, None)


@pytest.mark.parametrize(
    ("damaged", "value"),
    [
        ("study_user_attributes", b"\x80\x02"),
        ("study_user_attributes", "7"),
        ("trial_user_attributes", "{"),
    ],
)
def test_damaged_values_in_a_database_are_a_wrong_request(open_study, tmp_path, damaged, value):
    run(open_study(1), epochs(0.9))
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute(f"update {damaged} set value_json = ?", (value,))
        database.commit()
    with pytest.raises(RequestError, match=r"storage: sqlite:.* cannot be used"):
        open_study(1)


def test_a_half_written_row_is_not_read(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,val/accuracy\n1,0.5\n2,\n3,0.")
    assert read_epochs(tmp_path) == [{"epoch": 1.0, "val/accuracy": 0.5}, {"epoch": 2.0, "val/accuracy": None}]
    assert read_epochs(tmp_path / "none") == []


def test_progress_names_the_best(open_study, capsys):
    study = open_study(3)
    run(study, epochs(0.9), epochs(0.95), epochs(0.93), follow=TrialProgress(study, 1).follow)
    printed = capsys.readouterr().out.splitlines()
    ended = [line.replace("0:01", "0:00") for line in printed if "completed" in line]
    assert ended == [
        "[1/3] completed   000  val 90.00%, 0:00, the best so far",
        "[2/3] completed   001  val 95.00%, 0:00, the best so far",
        "[3/3] completed   002  val 93.00%, 0:00, best 95.00%",
    ]


def test_trials_are_ranked_and_pruned_by_the_figure_that_selects(tmp_path, capsys):
    def by_loss(loss: float, accuracy: float, count: int = 4) -> str:
        script = epochs(accuracy, count=count).replace("train/loss", "val/loss").replace(",1.0,", f",{loss},")
        return script.replace('"val_accuracy"', f'"val_loss": {loss}, "val_accuracy"')

    options = Options(**{**vars(OPTIONS), "trials": 3})
    study = SharedStudy(tmp_path, None, read_space(SPACE), ABOUT, options, None, [SCORES["loss"]])
    run(
        study, by_loss(0.5, 0.6), by_loss(3.0, 0.9, count=300), by_loss(0.2, 0.5)
    )  # the most accurate has the most loss
    record = describe_study(study)
    assert [trial["state"] for trial in record["trials"]] == ["completed", "pruned", "completed"]
    assert (record["objective"], record["best"]["number"], record["best"]["value"]) == (["loss"], 2, 0.2)
    assert "its best val loss so far, 3.0000, is above the median" in record["trials"][1]["reason"]
    assert record["trials"][0]["curve"]["1"] == 0.5
    print_study(record, tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "0.2000" in line or "0.5000" in line]
    assert "0.2000" in lines[0]
    draw_study(record | {"name": "a"}, tmp_path)
    assert (study.finished(), [trial.number for trial in study.leaders()]) == (3, [2])
