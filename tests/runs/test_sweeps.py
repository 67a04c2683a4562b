import yaml
from omegaconf import OmegaConf

from cnnlab.runs.directory import RunDirectory, new_directory
from cnnlab.runs.sweeps import RecordedRuns, job_names, sweep_directory, unused_directory
from hydra_plugins.cnnlab_sweep.sweeper import GridsSweeper


def record(path, status, **config):
    run = RunDirectory(path)
    with run.recording(config):
        pass
    run.update_summary(status=status)
    return path


def write_sweep(path, *arguments):
    path.mkdir(parents=True)
    (path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": list(arguments)}}}))
    return path


def test_the_same_command_line_gets_the_same_directory(tmp_path):
    write_sweep(tmp_path / "1", "seed=0,1")
    last = write_sweep(tmp_path / "2", "seed=0,1")
    write_sweep(tmp_path / "3", "seed=0,1,2")
    assert sweep_directory(tmp_path, ["seed=0,1"]) == last
    new = sweep_directory(tmp_path, ["seed=1"])
    assert (new.parent, new.exists()) == (tmp_path, False)


def test_a_damaged_sweep_is_ignored(tmp_path):
    for number, text in enumerate(("a: [", "[]", "hydra: {}", "")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "multirun.yaml").write_text(text)
    assert not sweep_directory(tmp_path, ["seed=1"]).exists()


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


def test_sweeps_that_start_in_the_same_second_use_different_directories(tmp_path):
    OmegaConf.register_new_resolver("next_directory", lambda: str(new_directory(tmp_path / "sweep")), replace=True)

    def started(directory="${next_directory:}"):
        config = OmegaConf.create({"hydra": {"sweep": {"dir": directory}, "overrides": {"hydra": []}}})
        return GridsSweeper._fix_directory(config)

    found = [started() for _ in range(3)]
    assert len(set(found)) == 3 and all(directory.is_dir() for directory in found)
    assert started(str(found[0])) == found[0]  # given, or continued
