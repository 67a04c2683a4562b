"""Start a command: compose its configuration, run its task, set the exit code."""

import contextlib
import errno
import functools
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cnnlab import cpu, streams, waiting
from cnnlab.config.compose import hydra_arguments, register_configs
from cnnlab.config.folders import remove_added_files
from cnnlab.config.messages import check_keys, explain
from cnnlab.config.paths import ROOT
from cnnlab.config.request import check_settings
from cnnlab.config.settings import settings
from cnnlab.display import suggest_next, wrapped
from cnnlab.errors import Diverged, Failed, Interrupted, RequestError, SweepFailed, printable, system_error
from cnnlab.runs.processes import Processes, own_rank
from cnnlab.runs.warm import SERVE, serve
from cnnlab.signals import handled, interrupt, settle


def make_command(
    name: str, task: Callable[..., Any], follow: Callable[..., None] | None = None, loads: str = "PyTorch"
) -> Callable[[], None]:
    """Return the `main` function of a command: compose `conf/<name>.yaml`, run the task with it, exit with a code.

    A sweeper optimizes what the task returns. If the command may run in several processes, `follow` is the task of all
    processes but the first (see `cnnlab.runs.processes`), and `task` takes `processes` too. In a process that serves a
    sweep (see `cnnlab.runs.warm`) it also takes `warm`, a dictionary for what it keeps from job to job. `loads` names
    what takes seconds to import; a terminal says so.
    """

    def main() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # this module explains errors, not Hydra
        cpu.prepare()
        streams.prepare()
        threading.excepthook = _tell_of_thread
        if own_rank().number == 0:
            waiting.tell(f"Loading {loads}")
        if follow is None:
            streams.leave(_run(name, task))
        processes = Processes(own_rank())
        if sys.argv[1:] == [SERVE]:
            streams.leave(serve(functools.partial(_run, name, functools.partial(task, processes=processes, warm={}))))
        if not processes.leads:
            streams.leave(processes.follow(follow))
        try:
            code = _run(name, functools.partial(task, processes=processes))
        finally:
            processes.dismiss()
        streams.leave(code)

    return main


def _run(name: str, task: Callable[[DictConfig], Any]) -> int:
    """Return the exit code of a command, which a signal may end; trainings and sweeps have their own handlers."""
    try:
        with handled(interrupt):
            return _exit_code(name, task)
    except Interrupted as error:  # again, while the first one was handled
        return _say(str(error), 130)


def _exit_code(name: str, task: Callable[[DictConfig], Any]) -> int:
    """Return 0 if done, 1 if failed, 2 for a wrong request, 130 if interrupted; print errors on stderr."""
    failures: list[Exception] = []

    def job(config: DictConfig) -> Any:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_make_printable)
            if type(handler) is logging.StreamHandler:
                handler.setFormatter(_Wrapping(handler))
        try:
            check_keys(config, name)
            if config.get("resume") in (None, "auto"):  # the keys of a resumed run are changes of its record
                check_settings(settings(config))
            return task(config)
        except Exception as error:  # the other jobs of a sweep go on
            if isinstance(error, RequestError | OmegaConfBaseException | OSError):
                remove_added_files()
            failures.append(error)
            return None

    try:
        register_configs(Path.cwd(), name, sys.argv[1:])
        sys.argv[1:] = hydra_arguments(sys.argv[1:], name)
        with _fitting_help():
            hydra.main(config_path=str(ROOT / "conf"), config_name=name, version_base="1.3")(job)()
    except Interrupted as error:
        settle()
        return _say(str(error), 130)
    except SystemExit as end:  # after --help and --cfg
        return int(end.code or 0)
    except OSError as error:  # the task reports its own; here the directory cannot be made
        cannot = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
        wrong = RequestError(f"hydra.run.dir: {error.filename} cannot be made ({error.strerror})")
        failures.append(wrong if cannot else error)
    except Exception as error:
        failures.append(error)
    return min((_report(error, name) for error in failures), default=0)


def _report(error: Exception, name: str) -> int:
    """Print an error, with a traceback if it is no wrong request; return the exit code."""
    if isinstance(error, RequestError):
        return _say(str(error), 2)
    if isinstance(error, SweepFailed):
        return _say(str(error), error.code)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _say(explain(error, name), 2)
    if isinstance(error, Diverged):
        hint = "A lower optimizer.lr, or trainer.gradient_clip_val=1, may help."
        code = _say(f"The training diverged: {error}. {hint}", 1)
        for command in getattr(error, "__notes__", ()):
            suggest_next(command, always=True)
        return code
    if isinstance(error, Failed):
        return _say(str(error), 1)
    if found := system_error(error):
        return _say(*found)
    _say("".join(traceback.format_exception(error)).rstrip(), 1)
    return _say(f"The work failed: {type(error).__name__}: {error}", 1)


def _say(message: str, code: int) -> int:
    print(wrapped(printable(message, keep="\n\t"), sys.stderr), file=sys.stderr)
    return code


@contextlib.contextmanager
def _fitting_help() -> Iterator[None]:
    """Wrap what Hydra prints for `--help` if the terminal is narrower than that."""
    if not {"--help", "-h"} & set(sys.argv[1:]) or not sys.stdout.isatty():
        yield
        return
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:  # Hydra exits
        print(wrapped(text.getvalue(), sys.stdout), end="")


class _Wrapping(logging.Formatter):
    """Format lines of the log as a handler does, and break those that are wider than its terminal between words."""

    def __init__(self, handler: logging.StreamHandler[Any]):
        super().__init__()
        self._handler, self._formatter = handler, handler.formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return wrapped(self._formatter.format(record), self._handler.stream)


def _tell_of_thread(error: threading.ExceptHookArgs) -> None:
    """Print the error of a thread, unless it is one of the system: the main thread will meet that, too."""
    if error.exc_value is None or system_error(error.exc_value) is None:
        threading.__excepthook__(error)


def _make_printable(line: logging.LogRecord) -> bool:
    """Replace the escape sequences in a line of the log; names in it may come from strangers."""
    line.msg, line.args = printable(line.getMessage(), keep="\n\t"), ()
    return True
