"""Take back what a refused request has added to a folder."""

import os
from pathlib import Path

# Files in the directory of a run, a study or a job before there is a record.
FILES_BEFORE_THE_RECORD = (".lock", "train.log", "tune.log", "study.lock", "output.log", "errors.log")
FILES_BEFORE_THE_RECORD += (".precision-cpu", ".precision-cuda", ".precision-mps")  # of a sweep


class Before:
    """Remember what there was before a request, to remove only what was added if it is refused.

    Args:
        path: directory that the request will write to, which need not exist yet.
    """

    def __init__(self, path: str | Path):
        path = Path(path).absolute()
        self._folders = {folder for folder in (path, *path.parents) if folder.exists()}
        self._sizes = {file: file.lstat().st_size for file in path.iterdir()} if path.is_dir() else {}

    def remove_added(self, path: str | Path) -> None:
        """Remove new logs, locks, lines of older logs, and empty new folders; keep all if there are other new files."""
        path = Path(path).absolute()
        added = [file for file in path.iterdir() if file not in self._sizes] if path.is_dir() else []
        if any(file.name not in FILES_BEFORE_THE_RECORD for file in added):
            return
        for file in added:
            file.unlink(missing_ok=True)
        for file, size in self._sizes.items():
            if file.suffix == ".log" and file.is_file() and file.stat().st_size > size:
                os.truncate(file, size)
        for folder in (path, *path.parents):
            if folder in self._folders:
                return
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # it is not empty
                return
