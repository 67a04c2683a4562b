"""Read images of the Hugging Face Hub."""

import functools
import glob
import json
import logging
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from cnnlab.data.findings import Findings, listed
from cnnlab.data.sources.base import Columns, RawImages, Source
from cnnlab.data.sources.columns import SNIFFED, encoded, plain
from cnnlab.data.sources.hub_faults import explain_fault
from cnnlab.data.sources.layout import SPLITS
from cnnlab.data.sources.tables import Split, Tables, datasets_cache
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

log = logging.getLogger(__name__)

SOON = 3.0  # seconds after which a line says that the Hub's answer is waited for
CONNECT = 5.0  # seconds to wait for a connection to the Hub
PATIENCE = 30.0  # seconds to wait for its answer
_seen: set[str] = set()  # lines of the libraries' logs
DEFAULT = ".cnnlab-default"  # file in a download that was made without naming a configuration


@dataclass(frozen=True)
class HubSource(Source):
    """Read a data set of the Hugging Face Hub.

    The `datasets` library downloads it once, as tables in its own cache. They are read from there without the library
    and without network, so a data set stays as it was when it was downloaded; `revision` tells which one this is.
    """

    name: str  # such as `uoft-cs/cifar10`
    config: str | None = None  # configuration, such as `plain_text`; None for the only or default one
    columns: Columns = Columns()  # that the user names
    splits: Mapping[str, Any] | None = None  # names there of `train`, `val` and `test`; None finds them

    @property
    def identity(self) -> str:
        download = self._download(alone=True)
        found = (download.parts[-3], self.revision) if download else (self.config,)
        asked = (self.columns.image, self.columns.label, *([dict(self.splits)] if self.splits else []))
        return " ".join(str(part) for part in ("hub", self.name, *found, *asked))

    @property
    def revision(self) -> str | None:
        """Commit of the data set on the Hub that was downloaded, or None if none was."""
        download = self._download(alone=True)
        return download.name if download else None

    def check(self) -> None:
        """Raise RequestError if there is neither a download nor the data set on the Hub."""
        self._found()

    def count(self) -> int:
        return sum(split.rows for split in self._tables().splits.values())

    def findings(self) -> Findings:
        return replace(self._tables().findings(), revision=self.revision)

    def read(self, lean: bool = False) -> RawImages:
        return self._tables().read()

    def _tables(self) -> Tables:
        folder = self._found() or self._fetch()
        names: list[str] = list(json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["splits"])
        chosen = {name: split for name in names for split, usual in SPLITS.items() if name.lower() in usual}
        if self.splits:
            chosen = {str(name): "validation" if split == "val" else split for split, name in self.splits.items()}
            if unknown := next((name for name in chosen if name not in names), None):
                raise RequestError(f"data.splits: {self.name} has no split {unknown}; it has {', '.join(names)}")
        splits = {chosen.get(name, name): _mapped_table(folder, name) for name in names}
        place = f"{self.name}, configuration {folder.parts[-3]}, revision {folder.name[:12]}"
        return Tables(splits, self.columns, f"data.source: {self.name}", place)

    def _found(self) -> Path | None:
        """Return the folder of the download, or None if it is on the Hub only; raise RequestError if it is nowhere."""
        if download := self._download():
            return download
        answer = _revision(self.name)
        if not isinstance(answer, RequestError):
            return None
        if download := self._download(alone=True):
            log.info("The Hub does not tell about %s; its downloaded %s is read.", self.name, download.parts[-3])
            return download
        if known := sorted({folder.parts[-3] for folder in _downloads(self.name, None)}):
            raise RequestError(f"{answer} Downloaded are data.config={' and data.config='.join(known)}.")
        raise answer

    def _download(self, alone: bool = False) -> Path | None:
        """Return the newest download of the configuration that is asked for, by default the default one.

        If `alone`, that of another configuration stands for the default one, unless several are downloaded.
        """
        downloads = _downloads(self.name, self.config)
        asked = [folder for folder in downloads if self.config or (folder / DEFAULT).exists()]
        if not asked and alone and len({folder.parts[-3] for folder in downloads}) == 1:
            asked = downloads
        return asked[-1] if asked else None

    def _fetch(self) -> Path:
        """Download the data set, and return the folder of its tables."""
        log.info("Downloading %s from the Hugging Face Hub (only once: it is kept in %s).", self.name, datasets_cache())
        datasets = _quiet_library()
        try:
            options = {"revision": _revision(self.name), "cache_dir": str(datasets_cache())}
            datasets_cache().mkdir(parents=True, exist_ok=True)
            # With the prefix, a local folder of this name is not taken for the data set.
            builder = datasets.load_dataset_builder(f"hf://datasets/{self.name}", self.config, **options)
            builder.download_and_prepare()
        except Exception as error:  # the libraries raise many kinds of errors
            if fault := explain_fault(error, self.name):
                raise RequestError(fault) from None
            if isinstance(error, ValueError) and (known := re.search(r"[Aa]vailable.*: \[(.*)\]", str(error))):
                wrong = f"has no configuration {self.config}" if self.config else "has several configurations"
                configs = listed(re.findall("'([^']+)'", known[1]))
                raise RequestError(f"data.config: {self.name} {wrong}; choose one of {configs}") from None
            reason = first_line(error.__cause__ or error)
            raise RequestError(f"data: {self.name} cannot be loaded as a table of images ({reason})") from None
        folder = Path(builder.cache_dir)
        if self.config is None:
            (folder / DEFAULT).touch()
        return folder


def _mapped_table(folder: Path, split: str) -> Split:
    """Return the table of a split, mapped from its files. The paths in it are absolute."""
    files = sorted([*folder.glob(f"*-{split}.arrow"), *folder.glob(f"*-{split}-?????-of-?????.arrow")])
    try:
        table = pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in files])
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"data: {folder} is damaged; delete it ({first_line(error)})") from None
    images, column = (lambda name: encoded(table[name])), (lambda name: plain(table[name]))
    return Split(table.num_rows, table.slice(0, SNIFFED), Path(), column, images)


def _quiet_library() -> ModuleType:
    """Import and return `datasets`: with progress bars on a terminal only, and with each line of its log once."""
    import datasets
    import huggingface_hub

    bars = sys.stderr.isatty()
    for library in (datasets, huggingface_hub.utils):
        (library.enable_progress_bars if bars else library.disable_progress_bars)()
    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).handlers.clear()  # their lines also go to the handlers of the command
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # it raises what it reports
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # a description may be missing
    _seen.clear()
    for part in ("utils._http", "file_download"):  # they repeat themselves before each of several attempts
        logging.getLogger(f"huggingface_hub.{part}").addFilter(_is_new)
    return datasets


def _is_new(record: logging.LogRecord) -> bool:
    """Return whether a line was not logged yet in this download."""
    known = record.getMessage() in _seen
    _seen.add(record.getMessage())
    return not known


def _downloads(name: str, config: str | None) -> list[Path]:
    """Return the folders of complete downloads, the newest last: `NAME/CONFIGURATION/VERSION/REVISION`."""
    root = datasets_cache() / _folder_name(name)
    files = root.glob(f"{glob.escape(config or '') or '*'}/*/*/dataset_info.json")
    whole = [file for file in files if ".incomplete" not in file.parent.name]
    own = [file for file in whole if json.loads(file.read_text(encoding="utf-8")).get("config_name") == file.parts[-4]]
    return [file.parent for file in sorted(own, key=lambda file: file.stat().st_mtime)]


def _folder_name(name: str) -> str:
    """Return the folder name that the `datasets` library uses: `org___my_images` for `org/MyImages`."""
    owner, _, own = name.rpartition("/")
    if own != own.lower():
        from datasets.naming import camelcase_to_snakecase

        own = camelcase_to_snakecase(own)
    return f"{owner}___{own}" if owner else own


@functools.cache
def _revision(name: str) -> str | RequestError:
    """Return the newest commit of a data set on the Hub, or why the Hub does not tell; ask once in a run.

    A thread asks, because looking up the name of the Hub has no time-out.
    """
    from huggingface_hub import HfApi

    answers: list[str | RequestError] = []

    def ask() -> None:
        try:
            timeout: Any = (CONNECT, PATIENCE, PATIENCE, PATIENCE)
            answers.append(str(HfApi().dataset_info(name, timeout=timeout).sha))
        except Exception as error:  # the libraries raise many kinds of errors
            fault = explain_fault(error, name, asking=True)
            answers.append(RequestError(fault or f"data: {name}: {first_line(error)}"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SOON)
    if thread.is_alive():
        log.info("Waiting for the answer of the Hugging Face Hub about %s.", name)
        thread.join(PATIENCE)
    return answers[0] if answers else RequestError(str(explain_fault(TimeoutError(), name)))
