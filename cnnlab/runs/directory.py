"""A run directory: its place, its files, and its summary.

Nothing here needs torch, because the place is decided while the configuration is composed.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from cnnlab.errors import Interrupted, RequestError

# The keys of summary.json, in their order; null until known.
SUMMARY_KEYS = (
    *("status", "name", "model", "recipe", "data", "protocol", "seed", "parameters", "macs", "lr", "epochs", "steps"),
    *("train_seconds", "total_seconds", "images_per_second", "peak_memory_bytes"),
    *("val_accuracy", "val_loss", "test_accuracy", "test_loss", "test_accuracy_tta", "best_epoch"),
    *("device", "precision", "data_fingerprint", "versions", "git_commit", "command", "error"),
)
# The columns of metrics.csv.
METRICS: tuple[str, ...] = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
COLUMNS: tuple[str, ...] = ("epoch", "step", "seconds", "lr", *METRICS)

# What is in the directory of a run, of a study or of a job of a sweep before there is a record.
BEGINNING = (".lock", "train.log", "tune.log", "study.lock", "output.log", "errors.log")


class RunDirectory:
    """The directory of one run.

    Args:
        path: of the directory; it need not exist yet.
        writes: False for a process that leaves the record to another one.
    """

    def __init__(self, path: str | Path, writes: bool = True):
        self.path = Path(path)
        self.writes = writes
        self.summary_file = self.path / "summary.json"
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.csv"
        self.predictions_file = self.path / "predictions.npz"
        self.last_checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.best_checkpoint = self.path / "checkpoints" / "best.ckpt"
        self.summary: dict[str, Any] = dict.fromkeys(SUMMARY_KEYS)
        self._seconds_before, self._started = 0.0, time.perf_counter()

    def read_summary(self) -> dict[str, Any] | None:
        """The record on disk, or None where there is none that can be read."""
        try:
            summary = json.loads(self.summary_file.read_text())
        except (OSError, ValueError):
            return None
        return summary if isinstance(summary, dict) else None

    def read_config(self) -> dict[str, Any] | None:
        """The resolved configuration on disk, or None where there is none that can be read."""
        try:
            config = yaml.safe_load(self.config_file.read_text())
        except (OSError, ValueError, yaml.YAMLError):
            return None
        return config if isinstance(config, dict) else None

    def update_summary(self, **values: Any) -> None:
        """Sets keys of the record and writes it, so that a reader never sees half of it."""
        unknown = set(values) - set(SUMMARY_KEYS)
        assert not unknown, f"not a key of the record: {unknown}"
        self.summary |= values
        if self.writes:
            write_atomically(self.summary_file, json.dumps(self.summary, indent=2) + "\n")

    @contextmanager
    def recording(self, config: dict[str, Any], **known: Any) -> Iterator[None]:
        """Writes the record when the work inside starts, and how it came out when it ends, fails or is interrupted.

        A request that turns out to be wrong is no run: what stood in the directory before stays.

        Args:
            config: the resolved configuration, for config.yaml.
            known: keys of the record that are known beforehand.

        Raises:
            RequestError: when another process is writing to this directory.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            before = {f: f.read_text() if f.exists() else None for f in (self.summary_file, self.config_file)}
            self.summary |= self.read_summary() or {}
            # A process that was killed has not added its own up: of that, the training is known.
            self._seconds_before = max(self.summary[key] or 0.0 for key in ("total_seconds", "train_seconds"))
            self._started = time.perf_counter()
            write_atomically(self.config_file, yaml.safe_dump(config, sort_keys=False))
            self.update_summary(status="running", error=None, **known)
            try:
                yield
            except RequestError:
                for file, text in before.items():
                    file.unlink() if text is None else write_atomically(file, text)
                raise
            except BaseException as error:
                self.record_end(error)
                raise
            self._end("completed", None)

    def record_end(self, error: BaseException) -> None:
        """Completes the record of a run that has failed or was interrupted."""
        if isinstance(error, Interrupted | KeyboardInterrupt):
            self._end("interrupted", str(error) or "Interrupted.")
        else:
            self._end("failed", f"{type(error).__name__}: {error}")

    def _end(self, status: str, error: str | None) -> None:
        seconds = round(self._seconds_before + time.perf_counter() - self._started, 3)
        self.update_summary(status=status, error=error, total_seconds=seconds)

    def correct(self, status: str, error: str) -> None:
        """Says how a run has ended, once its process is gone: it was killed, or does not know why it was stopped.

        Raises:
            RequestError: when another process is writing to this directory.
        """
        with self.locked():
            self.summary |= self.read_summary() or {}
            self.update_summary(status=status, error=error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory against other processes; the system lets go of it however this process ends."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RequestError(f"hydra.run.dir: another process is writing to {self.path}") from None
        with lock:
            yield

    def is_free(self) -> bool:
        """Whether no process is writing to it, and this one may."""
        try:
            with self.locked():
                return True
        except (RequestError, OSError):
            return False


def default_directory(folder: Path, resume: str | None, identity: Callable[[], dict[str, Any]]) -> Path:
    """Where a run's files go.

    Args:
        folder: of the runs of that name.
        resume: None for a new run; `auto` for the last unfinished run with the same identity; else the run directory
            that is gone on with, or one of its checkpoints.
        identity: computes what of the configuration decides how the run comes out.
    """
    if resume == "auto":
        wanted = identity()
        for path in sorted(folder.glob("*/summary.json"), reverse=True):
            run = RunDirectory(path.parent)
            summary, config = run.read_summary(), run.read_config()
            unfinished = summary is not None and summary.get("status") != "completed"
            if unfinished and config is not None and is_same(config, wanted) and run.is_free():
                return path.parent
    elif resume is not None and (run := run_of(Path(resume).expanduser())) is not None:
        return run.path
    return new_directory(folder)


def new_directory(folder: Path) -> Path:
    """A place in the folder that is named after the present moment and not taken."""
    started = folder / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path, number = started, 2
    while path.exists():
        path, number = started.with_name(f"{started.name}_{number}"), number + 1
    return path


def run_of(path: Path) -> RunDirectory | None:
    """The run that a run directory, or a checkpoint inside one, belongs to."""
    for candidate in (path, path.parent.parent):
        if (candidate / "summary.json").is_file():
            return RunDirectory(candidate)
    return None


def discard_unused(path: Path) -> None:
    """Removes a directory that holds nothing but what a run begins with, and its parent if that is then empty.

    Of a relative path all parents that are empty then, such as `runs`.
    """
    if not path.is_dir() or any(file.name not in BEGINNING for file in path.iterdir()):
        return
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    for parent in path.parents[:1] if path.is_absolute() else path.parents:
        if not parent.name or any(parent.iterdir()):
            return
        parent.rmdir()


def check_output(output: str | None, suffixes: Iterable[str], key: str = "output") -> Path | None:
    """The file that `output=FILE` names.

    Args:
        output: None for no file.
        suffixes: that are known, such as `.json`.
        key: what the user calls it.

    Raises:
        RequestError: for another suffix, or a folder that does not exist.
    """
    if output is None:
        return None
    file = Path(output).expanduser()
    if file.suffix not in suffixes:
        raise RequestError(f"{key}: {file} must end in {', '.join(suffixes)}")
    if not file.absolute().parent.is_dir():
        raise RequestError(f"{key}: the folder of {file} does not exist")
    if file.is_dir():
        raise RequestError(f"{key}: {file} is a folder")
    return file


def check_output_folder(output: str | Path) -> Path:
    """The folder that `output=FOLDER` names; it need not exist, but the one that it lies in must.

    Raises:
        RequestError: when that is not so, or it is a file.
    """
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"output: {folder} is not a folder")
    if not folder.absolute().parent.is_dir():
        raise RequestError(f"output: the folder of {folder} does not exist")
    return folder


def write_atomically(file: Path, text: str) -> None:
    """Writes a file so that it holds either its old or its new content, whatever happens meanwhile."""
    with replacing(file) as temporary:
        temporary.write_text(text)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Gives a temporary file beside `file`, which takes its place when the block ends, and is removed if it fails."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_same(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a recorded configuration is of the run that is wanted, and has been from its beginning.

    Args:
        config: as read from config.yaml.
        wanted: what of a configuration decides how a run comes out.
    """
    return "lengthened" not in config and all(config.get(key) == value for key, value in wanted.items())
