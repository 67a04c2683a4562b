"""Studies of several figures, and trials of several seeds."""

import csv
import io
import os
from statistics import stdev

import pytest
from matplotlib.image import imread

from cnnlab.errors import Interrupted, RequestError
from cnnlab.search.figures import draw_study
from cnnlab.search.front_figure import draw_front
from cnnlab.search.record import describe_study, render_csv
from cnnlab.search.score import SCORES, read_objective
from cnnlab.search.terminal import TrialProgress, print_study
from tests.search.conftest import epochs, run

ACCURACY_AND_MACS = [SCORES["accuracy"], SCORES["macs"]]
# Accuracy and MACs of five trials: 1 and 3 are worse than 2 in one figure and not better in the other.
TRIALS = [epochs(0.9, macs=1e6), epochs(0.9, macs=4e6), epochs(0.95, macs=4e6), epochs(0.8, macs=5e6)]
FIRST = {"optimizer.lr": 0.1, "model.activation": "relu"}


@pytest.fixture
def front(open_study, tmp_path):
    """Return the record of a study of accuracy and MACs."""
    study = open_study(5, first=FIRST, scores=ACCURACY_AND_MACS)
    run(study, *TRIALS, "exit 1")
    return {"name": "a", **describe_study(study)}


def test_the_front_holds_the_trials_that_no_other_beats_in_all_figures(front):
    assert (front["front"], front["best"], front["baseline"]) == ([2, 0], None, 0)
    assert front["trials"][2]["values"] == {"accuracy": 0.95, "macs": 4e6}
    assert front["counts"] == {"completed": 4, "failed": 1}


def test_a_configuration_that_is_tried_twice_is_on_the_front_once(open_study):
    study = open_study(2, scores=ACCURACY_AND_MACS, first=FIRST)
    study.study.enqueue_trial(FIRST)
    run(study, epochs(0.9))
    assert [trial.params for trial in study.leaders()] == [FIRST, FIRST]
    assert describe_study(study)["front"] == [0]


def test_a_trial_far_behind_is_not_stopped_with_several_figures(open_study):
    study = open_study(3, scores=ACCURACY_AND_MACS)
    assert [state for _, state in run(study, epochs(0.9), epochs(0.1), epochs(0.9))][1::2] == ["completed"] * 3


def test_a_trial_that_diverges_does_not_stop_a_study_of_several_figures(open_study):
    options = {"scores": ACCURACY_AND_MACS}
    run(open_study(2, **options), epochs(0.9), epochs(0.5, "nan"))
    assert describe_study(open_study(2, **options))["counts"] == {"completed": 1, "pruned": 1}
    run(open_study(3, **options), epochs(0.9))
    assert describe_study(open_study(3, **options))["front"] == [0, 2]  # equally good


def test_a_run_without_one_of_the_figures_has_failed(open_study):
    study = open_study(1, scores=ACCURACY_AND_MACS)
    run(study, """echo '{"status": "completed", "val_accuracy": 0.5}' > summary.json""")
    assert describe_study(study)["trials"][0]["reason"] == "its MACs per image is None"


def test_the_terminal_shows_the_front_and_the_configuration_as_given(front, tmp_path, capsys):
    print_study(front, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("│")[1:4] for line in lines if line.startswith("│") and line.split("│")[1].strip()]
    assert [[cell.strip() for cell in row] for row in rows] == [["002", "95.00%", "4 M"], ["000", "90.00%", "1 M"]]
    assert any("as given: optimizer.lr=0.1" in line for line in lines)


def test_the_table_of_trials_has_a_column_for_every_figure_and_entry(front):
    rows = list(csv.DictReader(io.StringIO(render_csv(front))))
    assert [row["best"] for row in rows] == ["True", "False", "True", "False", "False"]
    assert (rows[0]["optimizer.lr"], rows[2]["macs"], rows[4]["accuracy"]) == ("0.1", "4000000.0", "")


def test_the_figure_names_both_figures_with_their_units_and_marks_the_front(front, tmp_path):
    axes = draw_front(front).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("MACs per image (M)", "val accuracy (%)")
    assert [text.get_text() for text in axes.texts] == ["002", "000"]
    assert {"as given", "other trials"} <= set(axes.get_legend_handles_labels()[1])
    front["trials"][2]["values"] = front["trials"][0]["values"]
    assert [text.get_text() for text in draw_front(front).axes[0].texts] == ["002, 000"]
    draw_study(front, tmp_path)
    assert imread(tmp_path / "front.png").std() > 0.01


def test_three_figures_have_a_panel_for_each_cost(front):
    for trial in front["trials"]:
        trial["values"] |= {"train_seconds": 3.0} if trial["values"] else {}
    assert len(draw_front(front | {"objective": ["accuracy", "macs", "train_seconds"]}).axes) == 2


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("accuracy", "must list two figures or more"),
        ([], "must list two figures or more"),
        (["accuracy", "acuracy"], "acuracy is not known; did you mean accuracy"),
        (["accuracy", "foo"], "foo is not known; known: accuracy, "),
        (["macs", "macs"], "macs is listed twice"),
        (["macs", {"a": 1}], "is not known"),
    ],
)
def test_a_wrong_objective_is_explained(objective, message):
    with pytest.raises(RequestError, match="objective") as error:
        read_objective(objective, "val/accuracy")
    assert message in str(error.value)


def test_select_is_the_objective_if_none_is_given():
    assert read_objective(None, "val/macro_f1") == [SCORES["macro_f1"]]


def test_the_value_of_a_trial_is_the_mean_over_its_seeds(open_study, tmp_path, capsys):
    study = open_study(2, seeds=[4, 5, 6])
    progress = TrialProgress(study, 1)
    progress.announce(4)
    good = [epochs(accuracy) for accuracy in (0.90, 0.93, 0.96)]
    states = run(study, good, [epochs(0.99), epochs(0.8), epochs(0.8)], follow=progress.follow)
    assert [state for _, state in states if state != "running"] == ["trained", "trained", "completed"] * 2
    record = describe_study(study)
    best = record["best"]
    assert (best["number"], best["value"], record["seeds"]) == (0, pytest.approx(0.93), [4, 5, 6])
    assert best["spread"] == {"accuracy": pytest.approx(stdev([0.90, 0.93, 0.96]))}
    assert [(run["seed"], run["accuracy"]) for run in best["runs"]] == [(4, 0.90), (5, 0.93), (6, 0.96)]
    printed = capsys.readouterr().out
    assert printed.startswith("2 trials with seeds 4, 5, 6: up to 6 trainings of 4 epochs\n")
    assert printed.count("At 0:0") == 1  # seconds of the first training, and what all are going to take
    assert "trained     000 seed 5  val 93.00%" in printed and "completed   000  val 93.00 ± 3.00%" in printed
    draw_study(record | {"name": "a"}, tmp_path)
    print_study(record, tmp_path)
    assert "93.00 ± 3.00%" in capsys.readouterr().out


def test_a_trial_is_stopped_in_its_first_seed_alone(open_study):
    study = open_study(3, seeds=[0, 1])
    late = [epochs(0.9), epochs(0.1)]  # as bad as the next one, but the first seed does not tell
    states = run(study, epochs(0.9), late, epochs(0.1, count=300))
    assert [state for _, state in states if state != "running"] == [
        *("trained", "completed", "trained", "completed", "pruned")
    ]
    assert describe_study(study)["trials"][1]["value"] == 0.5


def test_a_seed_that_diverges_or_fails_ends_its_trial(open_study):
    study = open_study(3, seeds=[0, 1, 2])
    bad = [[epochs(0.9), "exit 1", epochs(0.9)], [epochs(0.9), epochs(0.9, "nan"), epochs(0.9)]]
    states = run(study, *bad, epochs(0.9))
    assert [state for _, state in states if state != "running"][:4] == ["trained", "failed", "trained", "pruned"]


def test_a_killed_trial_goes_on_with_the_seeds_that_it_lacks(open_study):
    interrupt = f"(sleep 0.1; kill -INT {os.getpid()}) & "
    with pytest.raises(Interrupted):
        run(open_study(1, seeds=[0, 1, 2]), [epochs(0.6), interrupt + epochs(0.1, count=300), epochs(0.1)])
    study = open_study(1, seeds=[0, 1, 2])
    assert describe_study(study)["counts"] == {"interrupted": 1}
    assert [name for name, _ in run(study, epochs(0.9))][::2] == ["000 seed 1", "000 seed 2"]
    assert describe_study(study)["best"]["value"] == pytest.approx(0.8)


def test_further_seeds_are_trained_after_the_timeout_and_beside_the_last_trials(open_study):
    states = run(open_study(2, seeds=[0, 1]), epochs(0.9), at_once=2)
    assert [state for _, state in states].count("completed") == 2
    states = run(open_study(9, seeds=[0, 1]), epochs(0.9, count=9), timeout=0.2)
    assert [state for _, state in states][-1] == "completed"
