"""Read images of the Hugging Face Hub."""

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.data.sources.base import Columns, RawImages, Source
from cnnlab.data.sources.parquet import read_tables
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

if TYPE_CHECKING:
    import pyarrow

HUB_TIMEOUT = 3.0  # seconds to wait for an answer


@dataclass(frozen=True)
class HubSource(Source):
    """Read a data set of the Hugging Face Hub, through the `datasets` library and its cache of downloads.

    Published data sets are assumed not to change. All but `check` download the data set if it is not in the cache.
    """

    name: str
    config: str | None = None
    columns: Columns = Columns()

    @property
    def identity(self) -> str:
        asked = [value for value in (self.config, self.columns.image, self.columns.label) if value]
        return " ".join([f"hub {self.name}", *asked])

    def check(self) -> None:
        """Raise RequestError if there is no earlier download either when the Hub does not answer."""
        if _hub_answers(self.name):
            return
        # Without this, the library waits 20 s and more for each attempt to reach the Hub.
        os.environ["HF_HUB_OFFLINE"] = "1"
        if "huggingface_hub.constants" in sys.modules:
            sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True  # pyright: ignore[reportAttributeAccessIssue]
        if not (_datasets_cache() / _folder_name(self.name)).is_dir():
            raise RequestError(
                f"data: {self.name} is not in the local cache, and the Hugging Face Hub does not answer or has no such "
                "data set.\nImages on disk: data.path=FOLDER (parquet files, cifar-10-batches-py, class folders). "
                "Built in: data=digits"
            )

    def count(self) -> int:
        return sum(table.num_rows for table in self._tables().values())

    def files(self) -> list[tuple[str, int]]:
        return [(self.name, self.count())]

    def read(self, lean: bool = False) -> RawImages:
        return read_tables(self._tables(), self.columns, f"data.source: {self.name}")

    def _tables(self) -> dict[str, "pyarrow.Table"]:
        """Return the splits, mapped into memory."""
        self.check()
        import datasets

        datasets.disable_progress_bars()
        try:
            splits = datasets.load_dataset(self.name, self.config)
        except Exception as error:  # the library raises many kinds of errors
            raise RequestError(f"data: {self.name} cannot be loaded ({first_line(error)})") from None
        return {str(split): splits[split].data.table for split in splits}


def _datasets_cache() -> Path:
    """Return the download folder of the `datasets` library, without the slow import of the library."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()


def _folder_name(name: str) -> str:
    """Return the folder name that the `datasets` library uses: `org___my_images` for `org/MyImages`."""
    owner, _, own = name.rpartition("/")
    if own != own.lower():
        from datasets.naming import camelcase_to_snakecase

        own = camelcase_to_snakecase(own)
    return f"{owner}___{own}" if owner else own


def _hub_answers(name: str) -> bool:
    """Return whether the Hub knows the data set. A thread asks, because looking up a host name has no time-out."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    from huggingface_hub import HfApi

    answers: list[bool] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
            answers.append(True)
        except Exception:  # no network, no such data set or no answer in time
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return answers == [True]
