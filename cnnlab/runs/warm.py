"""Train the jobs of a sweep one after the other in one process that stays warm, as if each had its own.

The sweep sends a line of JSON for each job to the standard input of that process, which answers with the exit code.
What a job prints goes to files of its run. A job that ends the process affects no other: the next one gets a new one.
"""

import contextlib
import ctypes
import gc
import json
import logging
import os
import select
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

from cnnlab.runs.jobs import Job, LocalProcess

SERVE = "--serve"  # the only argument of the warm process


class WarmProcess:
    """Process that trains the jobs of a sweep, seen from the sweep. It starts with the first job."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the process end, which waits for jobs."""
        if self._process is not None:
            self._process.communicate()  # closes its input

    def start(self, job: Job, environment: dict[str, str]) -> "WarmJob":
        """Start a job, as `jobs.run_jobs` asks for. The environment is that of this process."""
        return WarmJob(job.command, job.directory, self)

    def send(self, command: Sequence[str], output: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Hand a command over to the process, and return it."""
        if self._process is None or self._process.poll() is not None:
            pipe = subprocess.PIPE
            serve = [*command[:3], SERVE]
            self._process = subprocess.Popen(serve, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
        request = {"arguments": command[3:], "files": [str(Path(file.name).absolute()) for file in (output, errors)]}
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `poll` notices
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return self._process


class WarmJob(LocalProcess):
    """Job of a warm process."""

    def __init__(self, command: Sequence[str], directory: Path, process: WarmProcess):
        self._warm = process
        super().__init__(command, directory, {})

    def _start(
        self, command: Sequence[str], environment: dict[str, str], output: IO[bytes], errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return self._warm.send(command, output, errors)

    def _code(self) -> int | None:
        """Return the answer of the process, or its exit code if it has ended without one."""
        answers = self._process.stdout
        assert answers is not None
        if select.select([answers], [], [], 0)[0] and (answer := os.read(answers.fileno(), 100)):
            return int(answer)
        return self._process.poll()


def serve(run: Callable[[], int]) -> int:
    """Run a command with each of the arguments that standard input names, until it ends; return an exit code.

    Nothing but libraries, kernels and what `run` keeps stays from one to the next.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    _lead(0, os.devnull, os.O_RDONLY)
    try:
        for request in requests:
            job = json.loads(request)
            for number, file in enumerate(job["files"], start=1):
                _lead(number, file, os.O_WRONLY | os.O_APPEND)
            sys.argv[1:] = job["arguments"]
            with as_before():
                code = run()
            for number, stream in enumerate((sys.stdout, sys.stderr), start=1):
                stream.flush()
                _lead(number, os.devnull, os.O_WRONLY)
            answers.write(b"%d\n" % code)
    except KeyboardInterrupt:  # between two jobs: the sweep is stopped
        return 130
    return 0


def _lead(number: int, file: str, flags: int) -> None:
    """Lead a file descriptor to a file."""
    opened = os.open(file, flags)
    os.dup2(opened, number)
    os.close(opened)


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Take back what a run inside the block has changed of this process: settings, loggers, memory, compiled code."""
    import torch

    _forget_peak()
    environment, filters = dict(os.environ), list(warnings.filters)
    handlers, level = list(logging.root.handlers), logging.root.level
    cudnn: Any = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.allow_tf32
    products, threads, dtype = torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(deterministic)
        torch.set_float32_matmul_precision(products)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        cudnn.benchmark, cudnn.allow_tf32 = flags
        for handler in [handler for handler in logging.root.handlers if handler not in handlers]:
            logging.root.removeHandler(handler)
            handler.close()
        logging.root.setLevel(level)
        os.environ.clear()
        os.environ |= environment
        warnings.filters[:] = filters  # pyright: ignore[reportIndexIssue]
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        gc.collect()


def _forget_peak() -> None:
    """Give freed memory back, and have the peak of this process start anew, as far as the system can."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
