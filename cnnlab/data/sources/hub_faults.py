"""Say in two lines why the Hugging Face Hub did not give a data set, and what to do about it."""

import errno
import os
import socket
import ssl

from cnnlab.errors import causes

DISK = (errno.EPERM, errno.EACCES, errno.ENOTDIR, errno.ENOSPC, errno.EROFS, errno.EDQUOT)
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
ON_DISK = "Images on disk: data.path=FOLDER. Built in: data=digits"


def explain_fault(error: BaseException, name: str, asking: bool = False) -> str | None:
    """Return what failed and what to do, or None if it is not a fault of the Hub, the network or the disk.

    The libraries wrap each other's errors and change their classes from version to version, so all that led to the
    error is searched for status codes and for names of classes.

    Args:
        error: what was raised while the Hub was asked or the data set was downloaded.
        name: name of the data set.
        asking: whether the Hub was only asked about the data set, so that a strange answer is not the data set's fault.
    """
    from huggingface_hub import constants

    chain = list(causes(error))
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    if "DatasetNotFoundError" in kinds and "gated" in str(error):  # the library does not keep what led to this
        kinds.add("GatedRepoError")
    codes = [link.response.status_code for link in chain if getattr(link, "response", None) is not None]  # pyright: ignore[reportAttributeAccessIssue]
    full = next((link for link in chain if isinstance(link, OSError) and link.errno in DISK), None)
    if "OfflineModeIsEnabled" in kinds:
        remedy = f"Unset HF_HUB_OFFLINE. {ON_DISK}"
        fault = f"{name} is not in the local cache, and HF_HUB_OFFLINE forbids to download it", remedy
    elif codes or "GatedRepoError" in kinds:
        fault = _by_status(codes[0] if codes else 403, kinds, name, constants.ENDPOINT)
    elif full:
        place = full.filename or constants.HF_HOME
        fault = f"{name} cannot be stored: {place}: {full.strerror}", "Choose another place with HF_HOME=FOLDER"
    elif "HFValidationError" in kinds:
        fault = f"{name} is not the name of a data set on the Hugging Face Hub", "Write data.source=OWNER/NAME"
    elif asking and kinds & {"JSONDecodeError", "KeyError", "TypeError", "AttributeError"}:
        remedy = "Open it in a browser: the network may ask for a login"
        fault = f"{constants.ENDPOINT} answers, but not as the Hugging Face Hub does", remedy
    else:
        fault = _by_connection(chain, kinds, constants.ENDPOINT)
    return f"data: {fault[0]}.\n{fault[1]}." if fault else None


def _by_status(code: int, kinds: set[str], name: str, hub: str) -> tuple[str, str]:
    from huggingface_hub import get_token

    page = f"{hub}/datasets/{name}"
    who = "the Hugging Face Hub"
    if "GatedRepoError" in kinds:
        return f"{name} is given to people who asked for it ({code})", f"Ask on {page}, then log in with: hf auth login"
    if code == 401 and get_token():
        return f"{who} does not accept your token for {name} (401)", "Log in anew with: hf auth login"
    if code == 404 and "EntryNotFoundError" in kinds:
        return f"a file of {name} is missing on {who} (404)", f"Tell its authors on {page}"
    if code >= 500:
        return f"{who} has a fault of its own ({code})", f"Repeat the command later. {ON_DISK}"
    private = "Check the name, OWNER/NAME; for a private data set, log in with: hf auth login"
    limit = "Wait some minutes, then repeat the command; hf auth login raises the limit"
    known = {
        401: (f"{who} shows no data set {name} without a login", private),
        403: (f"{who} refuses access to {name}", f"Ask its authors on {page}"),
        404: (f"{who} has no data set {name}", "Check data.source=OWNER/NAME"),
        407: ("the proxy asks for a name and password", "Put them into HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"),
        429: (f"{who} was asked too often from here", limit),
    }
    fault, remedy = known.get(code, (f"{who} refuses {name}", f"Look at {page}"))
    return f"{fault} ({code})", remedy


def _by_connection(chain: list[BaseException], kinds: set[str], hub: str) -> tuple[str, str] | None:
    proxy = next((name for name in PROXIES if os.environ.get(name)), None)
    if "ProxyError" in kinds or ("ConnectError" in kinds and proxy):
        proxy = proxy or PROXIES[0]
        return f"the proxy in {proxy} does not lead to the Hugging Face Hub", f"Correct or unset {proxy}"
    if any(isinstance(link, socket.gaierror) for link in chain):
        return f"the name in {hub} cannot be looked up, so there is no network or no DNS", f"Connect first. {ON_DISK}"
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return f"the certificate of {hub} is not trusted", "Set SSL_CERT_FILE to the certificates of your network"
    if kinds & {"TimeoutException", "TimeoutError"}:
        return f"the Hugging Face Hub ({hub}) does not answer", f"Repeat the command later. {ON_DISK}"
    if kinds & {"RemoteProtocolError", "ReadError", "WriteError", "IncompleteRead", "ConnectionResetError"}:
        remedy = "Repeat the command: what is complete is not loaded again"
        return "the connection to the Hugging Face Hub broke", remedy
    if kinds & {"ConnectError", "ConnectionError"}:
        reason = next((f": {link.strerror}" for link in chain if isinstance(link, OSError) and link.strerror), "")
        return f"the Hugging Face Hub ({hub}) cannot be reached{reason}", f"Connect first. {ON_DISK}"
    if "LocalEntryNotFoundError" in kinds:  # the library does not tell why
        return "the Hugging Face Hub did not give a file", "Repeat the command later"
    return None
