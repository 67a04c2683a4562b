"""Figures of groups and pairs, from invented runs with known results."""

import json
from typing import Any

import numpy as np
import pytest

from cnnlab.comparison import compare as comparison
from cnnlab.comparison import pairs
from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.spec import ComparisonSpec
from cnnlab.comparison.tables import sentence
from cnnlab.runs.reading import find_runs, read_run

COSTS = {"good": 400, "fair": 100, "poor": 200}


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    """Three networks with three seeds, and one with a single seed."""
    folder = tmp_path_factory.mktemp("runs")
    for model, accuracy in (("good", 0.92), ("fair", 0.85), ("poor", 0.84)):
        for seed in range(3):
            cost = COSTS[model]
            make_run(
                folder / f"{model}{seed}", model, seed, accuracy, parameters=cost, macs=cost, train_seconds=cost + seed
            )
    make_run(folder / "single", "single", 0, 0.70)
    return [read_run(path) for path in find_runs([str(folder)])]


@pytest.fixture(scope="module")
def section(runs):
    (section,) = compare_runs(runs, ComparisonSpec(targets=[0.8, 0.9, 0.99])).sections
    return section


def group(section, label) -> Any:
    return next(group for group in section.groups if group.label == label)


def pair(section, a, b) -> Any:
    return next(pair for pair in section.pairs if (pair.a, pair.b) == (a, b))


def test_a_group_has_mean_spread_interval_and_costs(section, runs):
    good = group(section, "good")
    accuracies = [run.summary["test_accuracy"] for run in runs if run.summary["model"] == "good"]
    assert good.n == 3
    assert good.mean == pytest.approx(np.mean(accuracies))
    assert good.sd == pytest.approx(np.std(accuracies, ddof=1))
    assert good.best == max(accuracies)
    assert good.interval == "t, over seeds"
    assert good.low < good.mean < good.high
    assert (good.parameters, good.train_seconds) == (400, 401)


def test_one_run_has_an_interval_over_images_and_no_spread(section):
    single = group(section, "single")
    assert (single.n, single.sd, single.interval) == (1, None, "Wilson, over test images")
    assert single.low < single.mean < single.high


def test_seeds_that_agree_by_chance_do_not_make_an_accuracy_certain(make_run, tmp_path):
    for seed in range(3):
        file = make_run(tmp_path / str(seed), "a", seed, 0.9) / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test_accuracy": 0.9}))
    (found,) = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]).sections[0].groups
    assert (found.sd, found.interval) == (0, "Wilson, over test images")
    assert found.low is not None and found.high is not None
    assert found.low < 0.9 < found.high


def test_an_interval_stays_below_100_percent(make_run, tmp_path):
    for seed, accuracy in enumerate((0.9, 1.0)):
        file = make_run(tmp_path / str(seed), "a", seed, 0.9) / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test_accuracy": accuracy}))
    (found,) = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]).sections[0].groups
    assert (found.interval, found.high) == ("t, over seeds", 1.0)


def test_the_best_group_is_first(section):
    means = [group.mean for group in section.groups]
    assert means == sorted(means, reverse=True)


def test_the_time_to_an_accuracy(section):
    targets = group(section, "good").targets
    assert [(t["target"], t["reached"], t["seconds"], t["epoch"]) for t in targets] == [
        (0.8, 3, 5, 5),  # validation accuracy climbs in five steps to 0.92
        (0.9, 3, 5, 5),
        (0.99, 0, None, None),
    ]


def test_the_front_of_accuracy_and_cost(section):
    front = {group.label: group.front for group in section.groups}
    assert "parameters" in front["good"]
    assert "parameters" in front["fair"]
    assert "parameters" not in front["poor"]  # fair is better and cheaper


def test_classes_and_confusions_add_up(section):
    good = group(section, "good")
    confusion = np.array(good.confusion)
    assert confusion.sum() == pytest.approx(section.test_images, abs=0.1)
    assert confusion.diagonal().sum() / 1000 == pytest.approx(good.mean, abs=1e-5)
    assert good.per_class == pytest.approx(confusion.diagonal() / confusion.sum(axis=1), abs=1e-4)


def test_curves_are_means_with_their_spread(section, runs):
    curve = group(section, "good").curve
    last = [run.curve["val/loss"][-1] for run in runs if run.summary["model"] == "good"]
    assert curve["epoch"] == [1, 2, 3, 4, 5]
    assert curve["runs"] == [3] * 5
    assert curve["val/loss"]["mean"][-1] == pytest.approx(np.mean(last))
    assert (curve["val/loss"]["low"][-1], curve["val/loss"]["high"][-1]) == (min(last), max(last))


def test_a_clear_difference_is_significant_over_seeds_and_images(section):
    clear = pair(section, "good", "poor")
    assert clear.verdict == "better"
    assert clear.interval == "t, over seeds and test images"
    assert clear.joint["p_holm"] < 0.05
    assert 0 < clear.low < clear.difference < clear.high
    assert clear.seeds["p"] <= clear.seeds["p_holm"] < 0.05
    assert clear.only_a > clear.only_b


def test_a_small_difference_is_not_significant(section):
    assert pair(section, "fair", "poor").verdict != "better"


@pytest.mark.parametrize(
    ("seeds", "images", "both", "one_seed_each", "words"),
    [
        (0.01, 0.01, 0.01, False, "better"),
        (0.2, 0.01, 0.01, False, "better"),
        (0.01, 0.01, 0.2, False, "significant over seeds and over images, not over both at once"),
        (0.2, 0.01, 0.2, False, "significant over images only; other seeds might differ"),
        (0.01, 0.2, 0.2, False, "significant over seeds only; other images might differ"),
        (None, 0.01, None, True, "better for these two trained networks; one seed each cannot say more"),
        (None, 0.01, None, False, "better for these trained networks; too few seeds to say more"),
        (0.2, 0.2, 0.2, False, "no significant difference"),
        (None, None, None, True, "not tested"),
    ],
)
def test_the_verdict_says_which_tests_are_significant(seeds, images, both, one_seed_each, words):
    tests = (p and {"p_holm": p, "difference": 0.1} for p in (seeds, images, both))
    assert pairs.verdict(*tests, one_seed_each=one_seed_each) == words


def test_a_single_run_cannot_be_compared_over_seeds(section):
    single = pair(section, "good", "single")
    assert single.seeds is None
    assert single.interval == "over test images"
    assert single.verdict == "better for these trained networks; too few seeds to say more"


def test_the_images_on_which_two_differ_are_listed(section, runs):
    shown = pair(section, "good", "poor")
    assert len(shown.only_a_images) == min(pairs.LISTED_IMAGES, shown.only_a)
    for entry in shown.only_a_images:
        right = {
            model: sum(r.predicted[entry["image"]] == entry["true"] for r in runs if r.summary["model"] == model)
            for model in ("good", "poor")
        }
        assert right["good"] >= 2 > right["poor"]
        poor = [run.predicted[entry["image"]] for run in runs if run.summary["model"] == "poor"]
        assert entry["instead"] != entry["true"]
        assert entry["instead"] in poor


def test_of_very_many_groups_each_is_compared_with_the_best(runs, monkeypatch):
    every = compare_runs(runs).sections[0].pairs
    for module in (comparison, pairs):
        monkeypatch.setattr(module, "MAX_GROUPS_ALL_PAIRS", 3)
    record = compare_runs(runs)
    told = record.sections[0].pairs
    assert [pair.a for pair in told] == ["good"] * 3
    assert [pair.seeds and pair.seeds["p"] for pair in told] == [p.seeds and p.seeds["p"] for p in every[:3]]
    corrected = [[pair.images and pair.images["p_holm"] for pair in pairs_] for pairs_ in (told, every)]
    assert all(few and few >= many for few, many in zip(*corrected, strict=False) if many)
    assert "each is compared with the best one only" in record.notices[0]


def test_published_accuracies_belong_to_networks_with_the_same_settings(make_run, tmp_path):
    options = {"_target_": "cnnlab.models.resnet_cifar.CifarResNet", "depth": 20, "shortcuts": True}
    config = {"model": {**options, "normalization": "batch", "width": 1.0}}
    wide = {"model": {**config["model"], "width": 2.0}}
    make_run(tmp_path / "a", "resnet20", images=50, config=config)
    make_run(tmp_path / "b", "resnet20", images=50, config=wide)
    make_run(tmp_path / "c", "resnet20", images=50, config=config, data="digits", data_fingerprint="other")
    record = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])])
    groups = {group.label: group for section in record.sections for group in section.groups}
    assert [entry["accuracy"] for entry in groups["resnet20, width 1.0"].published] == [0.9125]
    assert groups["resnet20, width 2.0"].published == []
    assert groups["resnet20"].published == []  # digits


def test_runs_without_predictions_are_compared_over_seeds_alone(make_run, tmp_path):
    for model, accuracy in (("a", 0.9), ("b", 0.8)):
        for seed in range(2):
            (make_run(tmp_path / f"{model}{seed}", model, seed, accuracy) / "predictions.npz").unlink()
    record = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])])
    (pair,) = record.sections[0].pairs
    assert pair.seeds is not None
    assert (pair.images, pair.only_a) == (None, None)
    assert len(record.problems) == 4


def test_a_notice_warns_of_trials_of_a_search(make_run, tmp_path):
    study = tmp_path / "study"
    paths = [make_run(study / "trials" / f"{number:03}", "lenet5", number, 0.8) for number in range(2)]
    trials = [read_run(path) for path in paths]
    assert not any("trials of a search" in notice for notice in compare_runs(trials).notices)
    (study / "tune.json").write_text("{}")
    assert any("2 of these runs are trials of a search" in text for text in compare_runs(trials).notices)


def test_notices_name_devices_commits_and_the_protocol_article(make_run, tmp_path):
    alike = {"accuracy": 0.8, "images": 100, "protocol": "article", "seed": 0}
    one = make_run(tmp_path / "a", "lenet5", device="NVIDIA H100", git_commit="0123456789abcdef", **alike)
    other = make_run(tmp_path / "b", "vgg11", device="2 cores", git_commit="fedcba9876543210-dirty", **alike)
    notices = compare_runs([read_run(one), read_run(other)]).notices
    care = "so compare times and memory with care"
    assert f"cifar10: groups ran on different devices, {care}: 2 cores; NVIDIA H100." in notices
    assert "cifar10: groups come from different commits: 0123456789; fedcba9876-dirty." in notices
    assert any("the test images chose the best epoch of every run" in notice for notice in notices)


def test_accuracy_with_test_time_augmentation_needs_all_runs(make_run, tmp_path):
    def tta(*accuracies):
        for seed, accuracy in enumerate(accuracies):
            make_run(tmp_path / f"{accuracies}{seed}", "lenet5", seed, 0.8, 100, test_accuracy_tta=accuracy)
        found = [read_run(tmp_path / f"{accuracies}{seed}") for seed in range(len(accuracies))]
        return compare_runs(found).sections[0].groups[0].test_accuracy_tta

    assert tta(0.8, 0.9) == pytest.approx(0.85)
    assert tta(0.8, None) is None


@pytest.fixture
def cross_validated(make_run, tmp_path):
    """Writes three folds of 30 training images, for each seed, with these held-out accuracies."""

    def write(model, seed, accuracies, **record):
        paths = []
        for fold, accuracy in enumerate(accuracies, start=1):
            path = tmp_path / f"{model}_{seed}_{fold}"
            config = {"data": {"source": "x", "image_size": 32, "classes": None, "folds": 3, "fold": fold}}
            of_fold = {"fold": fold, "folds": 3, "val_accuracy": accuracy, "val_balanced_accuracy": accuracy - 0.1}
            make_run(path, model, seed, 0.99, 50, 3, config=config, **of_fold, **record)
            positions = np.arange(fold - 1, 30, 3)
            labels = positions % 3
            logits = np.eye(3)[np.where(np.arange(10) < round(10 * accuracy), labels, (labels + 1) % 3)]
            np.savez(path / "held_out.npz", logits=logits, labels=labels, positions=positions)
            paths.append(path)
        return [read_run(path) for path in paths]

    return write


def test_folds_are_one_group_judged_by_what_they_held_out(cross_validated, make_run, tmp_path):
    runs = cross_validated("lenet5", 0, [0.6, 0.7, 0.8]) + cross_validated("vgg11", 0, [0.4, 0.5, 0.5])
    runs += [read_run(make_run(tmp_path / f"seed{seed}", "lenet5", seed, 0.9, 50)) for seed in range(2)]
    record = compare_runs(runs)
    folds, seeds = record.sections
    assert [(group.label, group.n) for group in folds.groups] == [("lenet5, 3 folds", 3), ("vgg11, 3 folds", 3)]
    assert [(group.label, group.n) for group in seeds.groups] == [("lenet5", 2)]
    assert (folds.figure_words, seeds.figure_words) == ("held-out accuracy", "test accuracy")
    best = folds.groups[0]
    assert (best.mean, best.sd, best.interval) == (pytest.approx(0.7), pytest.approx(0.1), "t, over folds")
    assert best.low == pytest.approx(max(0, 0.7 - 4.3027 * 0.1 * (1 / 3 + 1 / 2) ** 0.5), abs=1e-4)
    assert best.confusion == [[6, 4, 0], [0, 7, 3], [2, 0, 8]]  # fold by fold, as each has one class here
    (pair,) = folds.pairs
    assert (pair.a, pair.interval, pair.seeds) == ("lenet5, 3 folds", "t, over folds", None)
    assert pair.difference == pytest.approx(0.7 - 1.4 / 3)
    assert pair.joint is not None and pair.images is not None and pair.only_a_images == []
    assert "3 folds of the training images" in folds.title
    assert any("The held-out images chose" in notice for notice in record.notices)
    assert "p = " in sentence(pair) and "over folds" in sentence(pair)


def test_repeated_folds_are_pooled_by_seed_and_lacking_ones_are_told(cross_validated):
    runs = cross_validated("lenet5", 0, [0.6, 0.7, 0.8]) + cross_validated("lenet5", 1, [0.5, 0.6, 0.7])[:2]
    record = compare_runs(runs)
    (group,) = record.sections[0].groups
    assert (group.n, group.mean) == (5, pytest.approx(0.64))
    assert group.confusion is not None
    assert sum(map(sum, group.confusion)) == 30  # of seed 0 alone
    assert "lenet5, 3 folds: there are only 2 of 3 folds of seed 1; the means are over these." in record.notices


def test_what_chose_the_best_epochs_is_compared(make_run, tmp_path):
    chosen = {"config": {"select": "val/balanced_accuracy"}}
    for model, balanced in (("good", 0.6), ("poor", 0.7)):
        for seed in range(2):
            value = balanced + 0.01 * seed
            figures = {"test_balanced_accuracy": value, "val_balanced_accuracy": value, "test_macro_f1": 0.5}
            accuracy = 0.9 if model == "good" else 0.5
            make_run(tmp_path / f"{model}{seed}", model, seed, accuracy, **figures, **chosen)
    runs = [read_run(path) for path in find_runs([str(tmp_path)])]
    (section,) = compare_runs(runs).sections
    assert (section.figure_words, section.groups[0].label) == ("test balanced accuracy", "poor")
    assert section.groups[0].mean == pytest.approx(0.705)
    (pair,) = section.pairs
    assert pair.images is None and pair.joint is None and pair.seeds is not None  # no mean over the images
    (by_accuracy,) = compare_runs(runs, ComparisonSpec(value="accuracy")).sections
    assert (by_accuracy.figure_words, by_accuracy.groups[0].label) == ("test accuracy", "good")
    (by_f1,) = compare_runs(runs, ComparisonSpec(value="macro_f1")).sections
    assert by_f1.groups[0].mean == 0.5
    other = read_run(make_run(tmp_path / "other", "other", 0, 0.8))
    mixed = compare_runs([*runs, other])
    assert mixed.sections[0].figure == "test_accuracy"
    assert any("Different figures chose the best epochs" in notice for notice in mixed.notices)


def test_a_curve_ends_with_the_shortest_run(make_run, tmp_path):
    """Stop early, for example: a mean over the others would be that of the slower ones."""
    config = {"trainer": {"max_epochs": 9}}
    for seed, epochs in ((0, 3), (1, 5)):
        make_run(tmp_path / str(seed), "lenet5", seed, 0.8, 100, epochs=epochs, config=config)
    runs = [read_run(tmp_path / str(seed)) for seed in range(2)]
    curve = compare_runs(runs).sections[0].groups[0].curve
    assert (curve["epoch"], curve["runs"]) == ([1, 2, 3], [2, 2, 2])
