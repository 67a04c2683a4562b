"""Sign the messages between the processes of a run: others may be able to write to their store."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cnnlab.errors import RequestError
from cnnlab.files import decide_once

SECRET = "CNNLAB_SECRET"  # environment variable with the secret; without it, a file in the user's home is used


def signed(text: str) -> str:
    """Return a text with its signature before it."""
    return f"{_signature(text)} {text}"


def verified(message: str) -> str:
    """Return the text of a signed message.

    Raises:
        RequestError: if it was signed with another secret, or not at all.
    """
    signature, _, text = message.partition(" ")
    if not hmac.compare_digest(signature.encode(), _signature(text).encode()):
        raise RequestError(
            f"trainer=ddp: the processes have different secrets; set {SECRET} to one text on all machines"
        )
    return text


def _signature(text: str) -> str:
    return hmac.new(_secret(), text.encode(), hashlib.sha256).hexdigest()


def _secret() -> bytes:
    """Return this user's secret: from the environment, else from a file that is made when first needed."""
    if given := os.environ.get(SECRET):
        return given.encode()
    try:
        file = Path("~/.config/cnnlab/secret").expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        return decide_once(file, secrets.token_hex).encode()  # only the user may read it
    except (OSError, RuntimeError) as error:  # there may be no home
        raise RequestError(f"trainer=ddp: set {SECRET} to a secret text ({error})") from None
