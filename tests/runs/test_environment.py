import subprocess

import torch

from cnnlab.runs.environment import device_name, git_commit, peak_memory_bytes, versions


def test_versions_name_what_a_result_depends_on():
    assert versions()["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "lightning", "torchvision", "hydra-core"} <= set(versions())


def test_the_commit_says_when_files_differ(tmp_path):
    assert git_commit(tmp_path / "nowhere") is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_the_device_and_its_memory():
    cpu = torch.device("cpu")
    assert device_name(cpu).startswith("cpu: ")
    assert 50e6 < peak_memory_bytes(cpu) < 1e12
