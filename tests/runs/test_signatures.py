"""Test that only messages of the same user are accepted."""

import pytest

from cnnlab.errors import RequestError
from cnnlab.runs import signatures


def test_a_message_signed_with_another_secret_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("CNNLAB_SECRET", "mine")
    signed = signatures.signed("{}")
    assert signatures.verified(signed) == "{}"
    monkeypatch.setenv("CNNLAB_SECRET", "yours")
    with pytest.raises(RequestError, match="CNNLAB_SECRET"):
        signatures.verified(signed)


def test_the_secret_is_made_once_and_only_its_user_may_read_it(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("CNNLAB_SECRET", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    secret = signatures._secret()
    (file,) = (tmp_path / ".config" / "cnnlab").iterdir()
    assert (file.read_bytes(), len(secret), file.stat().st_mode & 0o777) == (secret, 64, 0o600)
    assert signatures._secret() == secret


def test_without_a_home_a_secret_is_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("CNNLAB_SECRET", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(RequestError, match="trainer=ddp: set CNNLAB_SECRET to a secret text"):
        signatures.signed("{}")
