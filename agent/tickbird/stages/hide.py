"""Values of secret keys that only parsing shows: dotted names, and names in odd spellings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..logrecords import Column, Records
from .raw import kept_structured
from .redact import Redactor

REMEMBERED_NAMES = 10_000
LONGEST_NAME = 256
"""Characters of a name, the last ones, that count: names grow with each level of nesting."""


class Hider:
    """``mark``: the text of a line goes on too, so say where a value was hidden that it shows."""

    def __init__(self, redactor: Redactor, mark: bool) -> None:
        self._redactor = redactor
        self._mark = mark
        self._secrets: dict[str, bool] = {}

    def columns(self, records: Records) -> Iterable[Records]:
        """The stage."""
        hidden: set[int] = set()
        for name, column in records.columns.items():
            if self._secret(name):
                shown = Column([self._redactor.hide(v) for v in column.values])
                if self._mark:
                    pairs = zip(column.values, shown.values, strict=True)
                    hidden.update(i for i, (was, now) in enumerate(pairs) if was != now)
                records.columns[name] = shown
        return kept_structured(records, hidden) if hidden else (records,)

    def inner(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        """The fields of a line without what is secret inside their lists and objects, however deep:
        not all of it becomes a column. Raises ``RecursionError``."""
        return {
            name: self._shown(value, name) if type(value) in (dict, list) else value
            for name, value in row.items()
        }

    def _shown(self, value: Any, name: str) -> Any:
        if self._secret(name):
            return self._redactor.hide(value)
        if type(value) is list:
            return [self._shown(one, name) for one in value]
        if type(value) is dict:
            name = name[-LONGEST_NAME:]
            return {key: self._shown(one, f"{name}.{key}") for key, one in value.items()}
        return value

    def _secret(self, name: str) -> bool:
        secret = self._secrets.get(name)
        if secret is None:
            secret = self._redactor.secret(name)
            if len(self._secrets) < REMEMBERED_NAMES and len(name) <= LONGEST_NAME:
                self._secrets[name] = secret
        return secret
