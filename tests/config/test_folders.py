"""Directories that are made before a command runs."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cnnlab.config.folders import NoteFolders, remove_added_files
from cnnlab.runs.before import Before
from cnnlab.runs.directory import claim_directory, new_directory


def test_runs_that_start_at_the_same_time_get_directories_of_their_own(tmp_path: Path):
    runs = tmp_path / "runs"
    with ThreadPoolExecutor(16) as threads:
        chosen = list(threads.map(lambda _: claim_directory(lambda: str(new_directory(runs))), range(16)))
    assert len(set(chosen)) == 16
    assert set(chosen) == {str(path) for path in runs.iterdir()}


def test_a_given_directory_is_taken_as_it_is(tmp_path: Path):
    path = tmp_path / "run"
    assert [claim_directory(lambda: str(path)) for _ in range(2)] == [str(path)] * 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_refused_request_leaves_no_directory(tmp_path: Path, monkeypatch):
    path = tmp_path / "runs" / "lenet5" / "run"
    monkeypatch.setattr("cnnlab.config.folders.HydraConfig.initialized", lambda: True)
    monkeypatch.setattr("cnnlab.config.folders.output_directory", lambda: path)
    monkeypatch.setattr(NoteFolders, "before", Before(path))
    claim_directory(lambda: str(path))
    assert path.is_dir()
    remove_added_files()
    assert not list(tmp_path.iterdir())
