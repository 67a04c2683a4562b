"""The jobs of a sweep: their names, their directories, and the runs that were started before."""

from cnnlab.runs.directory import RunDirectory
from hydra_plugins.cnnlab_sweep.planning import RecordedRuns, job_names, unused_directory


def record(path, status, **config):
    run = RunDirectory(path)
    with run.recording(config):
        pass
    run.update_summary(status=status)
    return path


def test_a_completed_run_is_preferred_to_a_later_unfinished_one(tmp_path):
    paths = [
        record(tmp_path / "1", "completed", seed=1, logger="x"),
        record(tmp_path / "2", "interrupted", seed=1),
        record(tmp_path / "3", "failed", seed=2),
        record(tmp_path / "4", "interrupted", seed=2),
        tmp_path / "not-there",
    ]
    runs = RecordedRuns(paths)
    found = {seed: runs.find({"seed": seed}) for seed in (1, 2, 3)}
    assert [(run[0].path.name, run[1]) if run else None for run in found.values()] == [
        ("1", "completed"),
        ("4", "interrupted"),
        None,
    ]


def test_a_directory_with_a_record_is_not_used_again(tmp_path):
    assert unused_directory(tmp_path / "a") == tmp_path / "a"
    record(tmp_path / "a", "completed")
    record(tmp_path / "a_2", "completed")
    assert unused_directory(tmp_path / "a") == tmp_path / "a_3"


def test_jobs_are_named_by_the_values_that_differ():
    assert job_names([["model=lenet5", "data=digits", "seed=0"], ["model=vgg11", "data=digits", "seed=0"]]) == [
        "lenet5",
        "vgg11",
    ]
    assert job_names([["model=a", "optimizer.lr=0.1", "seed=0"], ["model=b", "optimizer.lr=1e-3", "seed=1"]]) == [
        "a_lr-0.1_seed-0",
        "b_lr-1e-3_seed-1",
    ]
    assert job_names([["data.path='/a b'"], ["data.path='/c,d'"], ["model.activation=tanh"]]) == [
        "path-a-b",
        "path-c-d",
        "activation-tanh",
    ]


def test_every_job_has_a_name_of_its_own():
    assert job_names([["seed=0"]]) == ["0"]
    assert job_names([["data.path=/a/b"], ["data.path=/a,b"]]) == ["path-a-b", "path-a-b_1"]
    assert all(len(name) < 200 for name in job_names([[f"data.path={'x' * 400}{i}"] for i in range(3)]))
