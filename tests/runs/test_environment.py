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
    results, package = tmp_path / "experiments" / "results", tmp_path / "package"
    for file in (results / "a.json", tmp_path / "experiments" / "README.md", package / "code.py", tmp_path / "conf"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert git_commit(package) == commit
    (results / "a.json").write_text("2")
    (tmp_path / "experiments" / "README.md").write_text("2")
    assert git_commit(package) == commit
    (tmp_path / "conf").write_text("2")
    assert git_commit(package) == f"{commit}-dirty"


def test_the_device_and_its_memory():
    cpu = torch.device("cpu")
    assert device_name(cpu).startswith("cpu: ")
    assert 50e6 < peak_memory_bytes(cpu) < 1e12
