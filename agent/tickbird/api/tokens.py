"""The token of an instance: who can read its file may see the data."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..errors import CannotCreate

REMEDY = "set api.token_file to a file that you can write to, or to a file with a token in it"


def read_or_create(path: Path) -> str:
    """The token in ``path``; a new one, readable by its owner alone, when there is none."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise CannotCreate(f"cannot create {path}: {error.strerror}", REMEDY) from error
    token = secrets.token_urlsafe(32)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    return token


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotCreate(f"cannot read the token in {path}", REMEDY) from error
    if not token:
        raise CannotCreate(f"{path} holds no token", REMEDY)
    return token


def cookie_of(token: str) -> str:
    """What the browser keeps: proves the token without being it."""
    return hashlib.sha256(b"tickbird page " + token.encode()).hexdigest()


def same(given: str, right: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), right.encode())
