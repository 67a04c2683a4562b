"""Fetch trained networks from the Hugging Face Hub: `hf://OWNER/NAME`, as `cnnlab export format=hub` writes them."""

import functools
import logging
import re
from pathlib import Path

from cnnlab.errors import RequestError, causes
from cnnlab.instantiate import first_line
from cnnlab.waiting import tell

START = "hf://"
PATIENCE = 10.0  # seconds to wait for the Hub's answer
UNREACHABLE = "the Hub cannot be reached, and it is not in the local cache"
WEIGHTS_FILE = "model.safetensors"  # holds all that a network needs, with its description


@functools.cache
def fetch_network(name: str) -> Path:
    """Return the file of a network on the Hub, `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

    Nothing else of the repository is downloaded. The file is kept in the Hub's own cache; without network, or with
    HF_HUB_OFFLINE=1, it is read from there.

    Raises:
        RequestError: if there is none.
    """
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if not found:
        raise RequestError(f"checkpoint: {name} must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it raises what it reports
    tell(f"Fetching {name}")
    repository, revision = found.groups()
    try:
        HfApi().model_info(repository, revision=revision, timeout=PATIENCE)  # a download tries for half a minute
        return Path(hf_hub_download(repository, WEIGHTS_FILE, revision=revision))
    except Exception as error:  # the library raises many kinds of errors
        is_answer = getattr(getattr(error, "response", None), "status_code", 500) < 500
        cached = None if is_answer else try_to_load_from_cache(repository, WEIGHTS_FILE, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        raise RequestError(f"checkpoint: {name}: {_explain(error)}") from None


def is_fetched(file: Path) -> bool:
    """Return whether a file lies in the cache of the Hub, in which nothing else may be written."""
    return file.parent.parent.name == "snapshots" and file.parents[2].name.startswith("models--")


def _explain(error: Exception) -> str:
    """Say why the Hub gave no file. Classes of the library differ from version to version, their names do not."""
    kinds = {kind.__name__ for link in causes(error) for kind in type(link).__mro__}
    known = {
        "GatedRepoError": "it is given to people who asked for it on its page; then log in with: hf auth login",
        "RevisionNotFoundError": "it has no such revision",
        "RepositoryNotFoundError": "the Hub has no such network, or it is private: log in with: hf auth login",
        "HFValidationError": "this is no name on the Hub",
        "OfflineModeIsEnabled": "it is not in the local cache, and HF_HUB_OFFLINE forbids to fetch it",
        **dict.fromkeys(("LocalEntryNotFoundError", "TransportError", "ConnectionError", "TimeoutError"), UNREACHABLE),
        "EntryNotFoundError": f"it is not one of cnnlab's: it has no {WEIGHTS_FILE}",
    }
    return next((text for kind, text in known.items() if kind in kinds), f"it was not fetched ({first_line(error)})")
