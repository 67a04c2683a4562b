"""Runs are averaged if only the seed differs, compared on the same images, and never dropped silently."""

from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.comparison.grouping import flattened, group_runs
from cnnlab.runs.directory import SUMMARY_KEYS
from cnnlab.runs.reading import Run


def run(
    name: str,
    model: str = "lenet5",
    seed: int = 0,
    config: dict[str, Any] | None = None,
    labels: Any = None,
    **record: Any,
) -> Run:
    """A record in memory."""
    summary = dict.fromkeys(SUMMARY_KEYS) | {
        **{"status": "completed", "model": model, "recipe": "fast", "data": "cifar10", "protocol": "holdout"},
        **{"data_fingerprint": "aa", "seed": seed, "test_accuracy": 0.9, "device": "cpu", "precision": "32-true"},
    }
    predicted = None if labels is None else np.zeros(len(labels), dtype=np.int16)
    truth = None if labels is None else np.array(labels, dtype=np.int16)
    return Run(Path(name), summary | record, {"seed": seed} | (config or {}), {}, predicted, truth, 2)


def labels_of(runs: list[Run]) -> list[tuple[str, int]]:
    (section,) = group_runs(runs).sections
    return [(group.label, len(group.runs)) for group in section.groups]


def test_seeds_are_averaged_and_models_are_not():
    runs = [run("a", seed=0), run("b", seed=1), run("c", model="vgg11", test_accuracy=0.8)]
    assert labels_of(runs) == [("lenet5", 2), ("vgg11", 1)]


def test_names_and_paths_do_not_matter():
    one = {"name": "x", "logger": {"tensorboard": 1}, "data": {"path": "/a", "residence": "host"}}
    other = {"name": "y", "logger": {}, "data": {"path": "/b", "residence": "device"}}
    assert labels_of([run("a", config=one), run("b", seed=1, config=other)]) == [("lenet5", 2)]


def test_keys_that_an_older_record_lacks_have_their_default():
    old = run("a", config={"data": {"source": "digits"}})
    new = {"data": {"source": "digits", "sampling": "shuffled", "config": None}, "schedule_interval": None}
    runs = [old, run("b", seed=1, config=new), run("c", config={"data": {"source": "digits", "sampling": "balanced"}})]
    assert labels_of(runs) == [("lenet5", 2), ("lenet5, balanced sampling", 1)]


def test_a_number_in_a_name_is_short():
    runs = [run(str(i), config={"optimizer": {"lr": lr}}) for i, lr in enumerate((0.1 + 0.2, 1e-5))]
    assert labels_of(runs) == [("lenet5, lr 0.3", 1), ("lenet5, lr 1e-05", 1)]


def test_other_settings_keep_runs_apart_and_are_in_the_label():
    runs = [
        run("a", config={"optimizer": {"lr": 0.1}, "model": {"width": 1.0}}),
        run("b", seed=1, config={"optimizer": {"lr": 0.1}, "model": {"width": 1.0}}),
        run("c", config={"optimizer": {"lr": 0.1}, "model": {"width": 0.5}}, test_accuracy=0.8),
        run("d", config={"optimizer": {"lr": 0.2}, "model": {"width": 0.5}}, test_accuracy=0.7),
    ]
    grouping = group_runs(runs)
    assert [(group.label, len(group.runs)) for group in grouping.sections[0].groups] == [
        ("lenet5, width 1.0", 2),
        ("lenet5, width 0.5", 1),
        ("lenet5, width 0.5, lr 0.2", 1),
    ]
    (notice,) = grouping.notices
    assert "kept apart, by model.width (1.0, 0.5); optimizer.lr (0.2; else 0.1)" in notice


def test_a_run_that_was_made_longer_is_not_averaged_with_those_that_were_as_long_from_the_beginning():
    epochs = {"trainer": {"max_epochs": 60}}
    runs = [run("a", config=epochs), run("b", seed=1, config=epochs | {"lengthened": [30]}, test_accuracy=0.8)]
    assert labels_of(runs) == [("lenet5", 1), ("lenet5, lengthened", 1)]


def test_many_differing_settings_do_not_make_an_endless_name():
    optimizers = [
        {"_target_": f"torch.optim.{name}", **dict.fromkeys("abc", number)} for number, name in enumerate("XY", 1)
    ]
    runs = [run(str(number), config={"optimizer": optimizer}) for number, optimizer in enumerate(optimizers)]
    assert labels_of(runs)[0][0] == "lenet5, X, a 1 and 2 more"


def test_settings_that_look_alike_in_a_name_are_still_told_apart():
    runs = [run(name, config={"optimizer": {"_target_": f"{name}.optim.SGD"}}) for name in ("mine", "torch")]
    assert labels_of(runs) == [("lenet5, SGD", 1), ("lenet5, SGD (2)", 1)]


def test_the_precision_that_was_used_counts():
    auto = {"trainer": {"precision": "auto"}}
    runs = [run("a", config=auto), run("b", seed=1, config=auto, precision="bf16-mixed")]
    assert [label for label, _ in labels_of(runs)] == [
        "lenet5, 32-true",
        "lenet5, bf16-mixed",
    ]


def test_recipes_are_in_the_label_if_there_are_several():
    assert {label for label, _ in labels_of([run("a"), run("b", recipe="standard")])} == {
        "lenet5, fast",
        "lenet5, standard",
    }


def test_protocols_and_images_are_kept_apart_and_noted():
    grouping = group_runs([run("a"), run("b", seed=1), run("c", protocol="article"), run("d", data_fingerprint="bb")])
    found = [(section.protocol, section.fingerprint, len(section.groups[0].runs)) for section in grouping.sections]
    assert found == [("holdout", "aa", 2), ("article", "aa", 1), ("holdout", "bb", 1)]


def test_a_seed_counts_once():
    grouping = group_runs([run("old", test_accuracy=0.1), run("new"), run("other", seed=1)])
    (group,) = grouping.sections[0].groups
    assert [str(r.path) for r in group.runs] == ["new", "other"]
    ((left, reason),) = grouping.set_aside
    assert str(left.path) == "old"
    assert reason == "repeated: new has the same settings and the same seed, 0"


def test_runs_that_cannot_count_are_set_aside_with_their_reason():
    runs = [
        run("ok"),
        run("failed", status="failed", error="RuntimeError: out of memory"),
        run("stopped", status="interrupted", error=None),
        run("gone", status="running"),
        run("blank", test_accuracy=None),
        Run(Path("broken"), dict.fromkeys(SUMMARY_KEYS), problems=("summary.json cannot be read",)),
    ]
    grouping = group_runs(runs)
    assert [reason for _, reason in grouping.set_aside] == [
        "failed: RuntimeError: out of memory",
        "interrupted: no reason was recorded",
        "unfinished: its process is gone",
        "damaged: summary.json cannot be read",
        "damaged: its record has no test accuracy",
    ]


def test_a_run_without_configuration_is_not_pooled():
    lost = Run(Path("lost"), run("x", seed=1).summary, None)
    assert labels_of([run("a"), lost]) == [
        ("lenet5, 32-true", 1),
        ("lenet5, unreadable settings", 1),
    ]


def test_runs_on_other_test_images_are_not_compared_image_by_image():
    runs = [run("a", labels=[0, 1]), run("b", seed=1, labels=[0, 1]), run("c", seed=2, labels=[1, 1])]
    grouping = group_runs(runs)
    (group,) = grouping.sections[0].groups
    assert (len(group.runs), group.scored_runs) == (3, 2)
    assert group.correct.tolist() == [2, 0]
    assert grouping.notices == ["c was tested on other images than most runs; it is not compared image by image."]


def test_different_machines_and_commits_in_one_mean_are_noted():
    runs = [run("a", git_commit="1" * 40), run("b", seed=1, device="NVIDIA H100", git_commit="2" * 40 + "-dirty")]
    assert group_runs(runs).notices == [
        "lenet5: times and memory are medians over different devices: NVIDIA H100; cpu.",
        "lenet5: its runs come from different commits: 1111111111, 2222222222-dirty.",
    ]


def test_settings_are_flattened_without_what_does_not_matter():
    assert flattened({"a": {"b": 1, "c": [1, 2]}, "name": "x", "data": {"path": "p", "holdout": 0.1}}) == {
        "a.b": 1,
        "a.c": [1, 2],
        "data.holdout": 0.1,
    }
