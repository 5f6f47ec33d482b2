"""``${env:NAME}`` and ``${file:/path}``: how secrets and settings of the place come in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_REFERENCE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<kind>env|file):(?P<name>[^}]*)\}|(?P<bad>\$\{)"
)
_MAX_FILE = 64 * 1024


def has_reference(text: str) -> bool:
    return any(found["kind"] for found in _REFERENCE.finditer(text))


def resolve(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """``text`` with its references replaced, once; ``$${`` stands for ``${``.

    Raises ``ValueError`` for a missing variable or file; the message holds its name only.
    """

    def value(found: re.Match[str]) -> str:
        if found["escape"]:
            return "${"
        if found["bad"]:
            raise ValueError("unknown reference: write ${env:NAME}, ${file:/path}, or $${ for ${")
        if found["kind"] == "env":
            return _variable(found["name"], environ)
        return _file(found["name"])

    return _REFERENCE.sub(value, text)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise ValueError(f'environment variable "{name}" is not set; set it or remove the key')
    return environ[name]


def _file(name: str) -> str:
    if not name.startswith("/"):
        raise ValueError("a ${file:...} reference needs an absolute path")
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad path"
        raise ValueError(f"cannot read {name}: {why}") from None
    if len(data) > _MAX_FILE:
        raise ValueError(f"{name} is larger than 64 KiB, which no secret is")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None
