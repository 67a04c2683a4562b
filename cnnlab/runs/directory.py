"""Choose run directories, and write their files and records.

Nothing here needs torch: the directory is chosen while the configuration is composed.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from cnnlab.errors import Diverged, Failed, Interrupted, RequestError, system_error
from cnnlab.files import overwrite, remove_leftovers, write_atomically
from cnnlab.runs.archive import check_archive
from cnnlab.runs.hub import START, fetch_network
from cnnlab.runs.plain import finite, read_or_note, read_yaml, to_json
from cnnlab.runs.shipped import find_shipped, shipped_names
from cnnlab.runs.summary import SUMMARY_KEYS, read_record
from cnnlab.words import did_you_mean

# Defaults, other than null, of keys that older records lack.
DEFAULTS_SINCE: tuple[tuple[str, Any], ...] = (
    *(("on_error", "stop"), ("sampling", "shuffled"), ("select", "val/accuracy"), ("fraction", 1)),
    *(("compile_step", False), ("initialization", "torch")),
    *(("policy", "none"), ("rand_operations", 2), ("rand_magnitude", 9), ("then", [])),  # of the augmentation
    *((key, 0.0) for key in ("rotation", "scale", "shear", "brightness", "contrast", "saturation", "hue", "grey")),
)
# Columns of metrics.csv.
METRICS: tuple[str, ...] = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
MORE_METRICS = ("val/balanced_accuracy", "val/macro_f1")  # that older records lack
COLUMNS: tuple[str, ...] = ("epoch", "step", "seconds", "lr", *METRICS, *MORE_METRICS)


class RunDirectory:
    """Directory of one run.

    Args:
        path: of the directory, which need not exist; a follower, which leaves the record to the leader, never writes.
    """

    def __init__(self, path: str | Path, writes: bool = True):
        self.path = Path(path)
        self.writes = writes
        self.summary_file = self.path / "summary.json"
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.csv"
        self.predictions_file = self.path / "predictions.npz"
        self.held_out_file = self.path / "held_out.npz"
        self.last_checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.best_checkpoint = self.path / "checkpoints" / "best.ckpt"
        self.summary: dict[str, Any] = dict.fromkeys(SUMMARY_KEYS)
        self._seconds_before, self.started = 0.0, time.perf_counter()  # of `total_seconds`
        self._unwritten: dict[str, Any] | None = None  # the configuration of a resumed run before it continues

    def read_summary(self) -> dict[str, Any] | None:
        """Return the record on disk, with null for impossible values, or None if it is missing or cannot be read."""
        record, _ = read_record(self.summary_file)
        return None if record is None else dict.fromkeys(SUMMARY_KEYS) | record

    def read_config(self) -> dict[str, Any] | None:
        """Return the resolved configuration on disk, or None if it is missing or cannot be read."""
        return read_or_note(read_yaml, self.config_file, [])

    def update_summary(self, **values: Any) -> None:
        """Set keys of the record, and write it atomically; that of a resumed run not before `begin`."""
        unknown = set(values) - set(SUMMARY_KEYS)
        assert not unknown, f"not a key of the record: {unknown}"
        self.summary |= finite(values)
        if self.writes and self._unwritten is None:
            write_atomically(self.summary_file, to_json(self.summary) + "\n")

    def begin(self) -> None:
        """Write the record and the configuration of a resumed run, now that it continues."""
        if self._unwritten is not None:
            config, self._unwritten = self._unwritten, None
            for folder in (self.path, self.last_checkpoint.parent):
                remove_leftovers(folder)
            write_atomically(self.config_file, yaml.safe_dump(config, sort_keys=False))
            self.update_summary()

    @contextmanager
    def recording(self, config: dict[str, Any], **known: Any) -> Iterator[None]:
        """Write the record when the work in the block starts, and when it ends, fails or is interrupted.

        After a wrong request the directory is as it was before. The record of a run with a checkpoint stays as it is
        until the block calls `begin`, so that a failure before that loses nothing. `config` is the resolved
        configuration, `known` are the keys of the record that are known at the start.

        Raises:
            RequestError: if another process is writing to this directory.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            before = {f: f.read_bytes() if f.exists() else None for f in (self.summary_file, self.config_file)}
            earlier = self.read_summary()
            self.summary |= earlier or {}
            # A process that was killed has not written its total, but the seconds of its training.
            self._seconds_before = max(self.summary[key] or 0.0 for key in ("total_seconds", "train_seconds"))
            self.started = time.perf_counter()
            self._unwritten = config
            self.update_summary(status="running", error=None, **known)
            try:
                if earlier is None or not self.last_checkpoint.exists():
                    self.begin()
                yield
            except BaseException as error:
                if not isinstance(error, RequestError) and self.summary_file.exists():
                    self.record_end(error)
                elif self._unwritten is None:
                    for file, content in before.items():
                        file.unlink(missing_ok=True) if content is None else write_atomically(file, content)
                raise
            self.begin()
            self._end("completed", None)

    def record_end(self, error: BaseException) -> None:
        """Complete the record of a run that has failed, has diverged or was interrupted.

        A resumed run that has not continued keeps its record, unless this says `running`.
        """
        if self._unwritten is not None:
            earlier, self._unwritten = self.read_summary() or {}, None
            self.summary = dict.fromkeys(SUMMARY_KEYS) | earlier
            if earlier.get("status") != "running":
                return
        if isinstance(error, Interrupted | KeyboardInterrupt):
            status, text = "interrupted", str(error) or "Interrupted."
        elif isinstance(error, Diverged | Failed):
            status, text = "diverged" if isinstance(error, Diverged) else "failed", str(error)
        else:
            found = system_error(error)
            status, text = "failed", found[0] if found else f"{type(error).__name__}: {error}"
        try:
            self._end(status, text)
        except OSError:  # on a full disk, the first error tells more than this one
            with suppress(OSError):
                overwrite(self.summary_file, to_json(self.summary) + "\n")

    def _end(self, status: str, error: str | None) -> None:
        seconds = round(self._seconds_before + time.perf_counter() - self.started, 3)
        self.update_summary(status=status, error=error, total_seconds=seconds)

    def correct(self, status: str, error: str) -> None:
        """Record the end of a run whose process is gone and has not recorded it, or not known the reason.

        Raises:
            RequestError: if another process is writing to this directory.
        """
        with self.locked():
            self.summary |= self.read_summary() or {}
            self.update_summary(status=status, error=error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory against other processes; the lock ends with this process, however it ends."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RequestError(f"hydra.run.dir: another process is writing to {self.path}") from None
        except OSError as error:
            raise RequestError(f"hydra.run.dir: {self.path} cannot be written to ({error.strerror})") from None
        with lock:
            yield

    def is_free(self) -> bool:
        """Check that no process is writing to the directory, and this one may."""
        try:
            with self.locked():
                return True
        except (RequestError, OSError):
            return False


def default_directory(folder: Path, resume: str | None, identity: Callable[[], dict[str, Any]]) -> Path:
    """Choose the directory of a run in a folder.

    `resume` is None for a new run, `auto` for the last unfinished one with the same identity (the part of the
    configuration that decides the result), or names the run directory to continue or one of its checkpoints.
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
    """Return a new path in the folder, named after the present time."""
    started = folder / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path, number = started, 2
    while path.exists():
        path, number = started.with_name(f"{started.name}_{number}"), number + 1
    return path


def claim_directory(choose: Callable[[], str]) -> str:
    """Make the directory that `choose` names, and return its path.

    A default is a path that does not exist yet. If another process makes it in between, `choose` is asked again, so
    that commands that start in the same second each get their own. A given directory may be there already.
    """
    path, earlier = choose(), None
    while path != earlier:
        try:
            Path(path).mkdir(parents=True)
            break
        except FileExistsError:
            path, earlier = choose(), path
    return path


def run_of(path: Path) -> RunDirectory | None:
    """Return the run of a run directory or of a checkpoint inside one, or None."""
    for candidate in (path, path.parent.parent):
        if (candidate / "summary.json").exists():
            return RunDirectory(candidate)
    return None


def checkpoint_file(path: str | Path, key: str = "checkpoint") -> Path:
    """Return a checkpoint: a file, that of a run directory's best epoch, one that comes with cnnlab, or hf://OWNER/NAME.

    Raises:
        RequestError: if there is none, or it is another file; `key` of the command line names it.
    """
    if key == "checkpoint" and str(path).startswith(START):
        return fetch_network(str(path))
    file = Path(str(path)).expanduser()
    if file.is_dir():
        file = RunDirectory(file).best_checkpoint
    if not file.is_file():
        if key == "checkpoint" and (shipped := find_shipped(str(path))):
            return shipped
        near = did_you_mean(str(path), shipped_names()) if key == "checkpoint" else ""
        raise RequestError(f"{key}: there is no checkpoint {file}{near}")
    check_archive(file, key)
    return file


def check_output(output: Any, suffixes: Iterable[str], key: str = "output") -> Path | None:
    """Return the file that `output=FILE` (or another key) names, or None for None.

    Raises:
        RequestError: if it is no text, has none of the suffixes, or its folder does not exist.
    """
    if output is None:
        return None
    file = _named(output, key)
    if file.suffix not in suffixes:
        raise RequestError(f"{key}: {file} must end in {', '.join(suffixes)}")
    if file.is_dir():
        raise RequestError(f"{key}: {file} is a folder")
    _check_writable(file, key)
    return file


def own_folder(folder: Path) -> Path:
    """Return a folder that a command chooses for its files.

    Raises:
        RequestError: if it is a link: in a stranger's run, that may lead to files of the user.
    """
    if folder.is_symlink():
        raise RequestError(f"output: {folder} is a link; give a folder")
    return folder


def check_output_folder(output: Any) -> Path:
    """Return the folder that `output=FOLDER` names; it need not exist.

    Raises:
        RequestError: if it is no text, is a file, or its parent folder does not exist.
    """
    folder = _named(output, "output")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"output: {folder} is not a folder")
    _check_writable(folder, "output")
    return folder


def _named(output: Any, key: str) -> Path:
    if isinstance(output, bool) or not isinstance(output, str | int | Path):  # a folder may be called 5
        raise RequestError(f"{key} must be a path, got {output!r}")
    return Path(str(output)).expanduser()


def _check_writable(path: Path, key: str) -> None:
    """Check that a folder, or a file in an existing folder, can be written."""
    folder = path if path.is_dir() else path.absolute().parent
    if not folder.is_dir():
        raise RequestError(f"{key}: the folder of {path} does not exist")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"{key}: {folder} cannot be written to ({error.strerror})") from None


def is_same(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Check that a recorded configuration has the wanted values, and that its run was not made longer afterwards."""
    return "lengthened" not in config and differing_key(config, wanted) is None


def differing_key(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the first key with another value than wanted in a recorded configuration, or None.

    Older records lack the keys that are new since then: a missing key is equal to its default.
    """
    recorded, chosen = without_defaults(config), without_defaults(wanted)
    return next((key for key in wanted if recorded.get(key) != chosen.get(key)), None)


def without_defaults(value: Any) -> Any:
    """Return a setting without the keys that older records may lack and that have their default."""
    if isinstance(value, Mapping):
        pairs = {key: without_defaults(part) for key, part in value.items() if (key, part) not in DEFAULTS_SINCE}
        return {key: part for key, part in pairs.items() if part is not None}
    return value
