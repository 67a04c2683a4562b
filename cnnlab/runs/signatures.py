"""Sign the messages between the processes of a run: others may be able to write to their store."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cnnlab.errors import RequestError

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
        if not file.exists():
            _write_secret(file)
        return file.read_bytes()
    except (OSError, RuntimeError) as error:  # there may be no home
        raise RequestError(f"trainer=ddp: set {SECRET} to a secret text ({error})") from None


def _write_secret(file: Path) -> None:
    """Write a new secret, which only the user may read; another process never reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f"secret.{os.getpid()}")
    whole.touch(mode=0o600)
    whole.write_text(secrets.token_hex(), encoding="utf-8")
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.link(whole, file)
    whole.unlink()
