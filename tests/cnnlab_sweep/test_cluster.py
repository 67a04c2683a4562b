"""Run jobs through submitit, as far as possible without a cluster."""

import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from cnnlab.errors import RequestError
from cnnlab.runs.jobs import Job
from hydra_plugins.cnnlab_sweep.cluster import Allocation, make_executor, submit

pytest.importorskip("submitit")


def job(directory: Path, script: str) -> Job:
    directory.mkdir()
    return Job("a", [], ["sh", "-c", f"cd {directory}; {script}"], directory, epochs=None)


def ended(submission) -> int:
    for _ in range(600):
        if (code := submission.poll()) is not None:
            return code
        time.sleep(0.1)
    raise AssertionError("it took more than a minute")


def test_a_submitted_job_reports_how_it_ended(tmp_path):
    executor = make_executor("local", tmp_path / "submitit", {"timeout_min": 5, "slurm_partition": "gpu"})
    good = submit(executor, job(tmp_path / "good", "echo hello"))
    bad = submit(executor, job(tmp_path / "bad", "echo broken >&2; kill -KILL $$"))
    assert (ended(good), ended(bad)) == (0, -9)
    assert "killed by SIGKILL" in bad.explain(-9)
    assert "broken" in bad.explain(-9)
    assert (tmp_path / "good" / "output.log").read_text() == "hello\n"


@pytest.mark.slow  # submitit waits a while for its result
def test_a_job_that_the_cluster_loses_counts_as_failed(tmp_path):
    executor = make_executor("local", tmp_path / "submitit", {})
    lost = submit(executor, job(tmp_path / "lost", "sleep 0.2; kill -KILL $PPID"))
    assert ended(lost) == 1
    assert "the cluster ended job" in lost.explain(1)


def test_a_run_saves_when_its_time_is_up_and_is_submitted_again(tmp_path):
    # Not a shell, which would ignore the signal if it was started in the background.
    program = (
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n    pathlib.Path('saved').touch()\n    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\npathlib.Path('up').touch()\ntime.sleep(60)\n"
    )
    allocation = Allocation(
        job(tmp_path / "a", f"exec {shlex.join([sys.executable, '-c', program])}").command, tmp_path / "a"
    )
    results = []

    def send_notice() -> None:
        while not (tmp_path / "a" / "up").exists():
            time.sleep(0.01)
        time.sleep(0.2)  # until the main thread waits for the run
        os.kill(os.getpid(), signal.SIGUSR2)

    # As submitit does it: in a signal handler, while the main thread waits for the run.
    before = signal.signal(signal.SIGUSR2, lambda *_: results.append(allocation.checkpoint()))
    notice = threading.Thread(target=send_notice)
    notice.start()
    try:
        assert allocation()[0] == 130
    finally:
        notice.join()
        signal.signal(signal.SIGUSR2, before)
    assert (tmp_path / "a" / "saved").exists()
    assert results[0].function.command == allocation.command


def test_the_notice_of_a_cluster_does_not_kill_the_run(tmp_path):
    python = f"import os, signal; os.kill(os.getpid(), {signal.SIGUSR2}); print('alive')"
    before = signal.getsignal(signal.SIGUSR2)
    allocation = Allocation([sys.executable, "-c", python], tmp_path)
    assert allocation() == (0, "it ended before the run was complete")
    assert (tmp_path / "output.log").read_text() == "alive\n"
    assert signal.getsignal(signal.SIGUSR2) is before


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Fake the commands of Slurm: they accept a job and do not run it."""
    for name, script in (("sbatch", f"cp $1 {tmp_path}/script; echo Submitted batch job 12"), ("srun", ":")):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "script"


def test_the_needs_of_a_job_are_passed_to_slurm(tmp_path, slurm):
    parameters = {"timeout_min": 90, "gpus_per_node": 2, "slurm_additional_parameters": {"reservation": "night"}}
    executor = make_executor("slurm", tmp_path / "submitit", parameters | {"slurm_partition": "gpu"})
    submit(executor, job(tmp_path / "a", "true"))
    asked = slurm.read_text()
    for line in ("job-name=a", "time=90", "gpus-per-node=2", "partition=gpu", "reservation=night", "signal=USR2@90"):
        assert f"#SBATCH --{line}\n" in asked


def test_a_job_that_slurm_rejects_is_a_wrong_request(tmp_path, slurm):
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2; exit 1\n")
    executor = make_executor("slurm", tmp_path / "submitit", {"slurm_partition": "nowhere"})
    with pytest.raises(RequestError, match="invalid partition"):
        submit(executor, job(tmp_path / "a", "true"))


@pytest.mark.parametrize(
    ("cluster", "parameters", "message"),
    [
        ("slurmm", {}, "slurmm"),
        ("local", {"timeout_min": "long"}, "timeout_min"),
    ],
)
def test_a_wrong_cluster_or_parameter_is_named(tmp_path, cluster, parameters, message):
    with pytest.raises(RequestError, match=message):
        make_executor(cluster, tmp_path / "submitit", parameters)


def test_a_missing_slurm_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="hydra/launcher=slurm: .*srun"):
        make_executor("slurm", tmp_path / "submitit", {})
