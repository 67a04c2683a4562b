"""Run directories that are made before a command runs."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cnnlab.config.folders import NoteFolders, make_directory, remove_added_files
from cnnlab.runs.directory import new_directory


def _config(path: str) -> DictConfig:
    config = OmegaConf.create({"hydra": {"run": {"dir": path}}})
    OmegaConf.set_readonly(config.hydra, True)
    return config


def test_runs_that_start_at_the_same_time_get_directories_of_their_own(tmp_path: Path):
    OmegaConf.register_new_resolver("new_run", lambda: str(new_directory(tmp_path / "runs")), replace=True)
    configs = [_config("${new_run:}") for _ in range(16)]
    try:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(make_directory, [config.hydra.run for config in configs]))
    finally:
        OmegaConf.clear_resolver("new_run")
    chosen = {config.hydra.run.dir for config in configs}
    assert len(chosen) == 16
    assert chosen == {str(path) for path in (tmp_path / "runs").iterdir()}


def test_a_given_directory_is_taken_as_it_is(tmp_path: Path):
    (tmp_path / "run").mkdir()
    config = _config(str(tmp_path / "run"))
    make_directory(config.hydra.run)
    assert config.hydra.run.dir == str(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_refused_request_leaves_no_directory(tmp_path: Path, monkeypatch):
    path = tmp_path / "runs" / "lenet5" / "run"
    monkeypatch.setattr("cnnlab.config.folders.HydraConfig.initialized", lambda: True)
    monkeypatch.setattr("cnnlab.config.folders.output_directory", lambda: path)
    make_directory(_config(str(path)).hydra.run)
    assert path.is_dir()
    remove_added_files()
    assert not list(tmp_path.iterdir())
    NoteFolders.before = None
