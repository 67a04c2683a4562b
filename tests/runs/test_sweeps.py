import yaml
from omegaconf import OmegaConf

from cnnlab.runs.directory import new_directory
from cnnlab.runs.sweeps import shared_folder, sweep_directory
from hydra_plugins.cnnlab_sweep.sweeper import GridsSweeper


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


def test_sweeps_that_start_in_the_same_second_use_different_directories(tmp_path):
    OmegaConf.register_new_resolver("next_directory", lambda: str(new_directory(tmp_path / "sweep")), replace=True)

    def started(directory="${next_directory:}"):
        config = OmegaConf.create({"hydra": {"sweep": {"dir": directory}, "overrides": {"hydra": []}}})
        return GridsSweeper._fix_directory(config)

    found = [started() for _ in range(3)]
    assert len(set(found)) == 3 and all(directory.is_dir() for directory in found)
    assert started(str(found[0])) == found[0]  # given, or continued


def test_a_trial_shares_a_folder_with_the_other_trials_with_every_seed(tmp_path):
    folder = tmp_path / "trials"
    folder.mkdir()
    (folder / "003.lock").touch()
    assert {shared_folder(folder / name) for name in ("003", "003_seed1")} == {folder}
    assert shared_folder(folder / "004_seed1") is None
