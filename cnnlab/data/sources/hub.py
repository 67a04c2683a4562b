"""Images of the Hugging Face Hub."""

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.data.sources.base import RawImages
from cnnlab.data.sources.parquet import read_tables
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

if TYPE_CHECKING:
    import pyarrow

HUB_TIMEOUT = 3.0  # seconds that the Hub has to answer


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub, through the `datasets` library and its own cache of downloads."""

    name: str

    @property
    def identity(self) -> str:
        """See Source. A published data set is taken to stay as it is."""
        return f"hub {self.name}"

    def check(self) -> None:
        """See Source. Asks the Hub, and where it does not answer, whether an earlier download is there."""
        if _hub_answers(self.name):
            return
        # Without this, every attempt of the library to reach the Hub waits for its own time-out: 20 s and more.
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
        """See Source. Downloads the data set where that has not happened."""
        return sum(table.num_rows for table in self._tables().values())

    def files(self) -> list[tuple[str, int]]:
        """See Source."""
        return [(self.name, self.count())]

    def read(self, lean: bool = False) -> RawImages:
        """See Source."""
        return read_tables(self._tables(), f"data.source: {self.name}")

    def _tables(self) -> dict[str, "pyarrow.Table"]:
        """The splits, mapped into memory."""
        self.check()
        import datasets

        datasets.disable_progress_bars()
        try:
            splits = datasets.load_dataset(self.name)
        except Exception as error:  # the library has one for each way of failing
            raise RequestError(f"data: {self.name} cannot be loaded ({first_line(error)})") from None
        return {str(split): splits[split].data.table for split in splits}


def _datasets_cache() -> Path:
    """Where the `datasets` library keeps what it has downloaded; to ask the library would mean to import it."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()


def _folder_name(name: str) -> str:
    """What the `datasets` library calls the folder of a data set: `org/MyImages` lies in `org___my_images`."""
    owner, _, own = name.rpartition("/")
    if own != own.lower():
        from datasets.naming import camelcase_to_snakecase

        own = camelcase_to_snakecase(own)
    return f"{owner}___{own}" if owner else own


def _hub_answers(name: str) -> bool:
    """Whether the Hub knows the data set, asked in a thread because looking up a host's name has no time-out."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    from huggingface_hub import HfApi

    answers: list[bool] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
            answers.append(True)
        except Exception:  # no network, no such data set, no answer in time: all the same here
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return answers == [True]
