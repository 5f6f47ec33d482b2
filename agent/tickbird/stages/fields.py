"""Lines into the fields that they say: JSON decoded, other formats by their parser, text as text.

What cannot be read as JSON stays text, whole: a strange line is never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..logrecords import Records
from .limit import TRUNCATED
from .parse import ENVELOPE_TIME
from .shape import shaped

if TYPE_CHECKING:
    from ..sources.logtail import Line
    from . import Shaped

EMPTY = "empty"
WITHHELD = "redaction_failed"
"""Reasons in the ledger."""
PARTIAL = "tickbird.log.partial"
INVALID_UTF8 = "tickbird.log.invalid_utf8"
OWN = ("tickbird.", "log.file.path", "log.iostream")
"""How names begin that no line can give to an attribute: they say what the reader knows."""

_TEXT = ("text",)
"""Fields of the reader's own are tuples, which no line can forge: this one is a line that is text;
one of two is the reason for a drop; any other of one is the name of an attribute."""
LINE_FIELDS = 5
"""Of a ``Line``; a ``Shaped`` has one more."""

_decode = msgspec.json.Decoder().decode
_TROUBLE = (msgspec.DecodeError, ValueError, RecursionError)


class Reader:
    """``form`` as in ``logs.format``; ``hide`` takes secrets out of the fields of a line."""

    def __init__(self, form: str, hide: Callable[[Any], dict[Any, Any]] | None = None) -> None:
        self._json = form not in ("logfmt", "plain")
        self._hide = hide

    def records(
        self,
        lines: Sequence[Line | Shaped],
        texts: Sequence[bytes | None],
        parser: Callable[[str], dict[str, Any] | None] | None,
    ) -> Iterator[Records]:
        """``texts`` are the ``lines`` after redaction, None for one that is withheld."""
        rows: list[Any] = list(texts)
        if self._json:
            found = [i for i, text in enumerate(texts) if text is not None and text[:1] == b"{"]
            for index, row in zip(found, decoded([rows[i] for i in found]), strict=True):
                rows[index] = row
        for index, row in enumerate(rows):
            if type(row) is not dict:
                rows[index] = self._row(row, parser)
        if self._hide:
            rows = [self._hidden(row, self._hide) for row in rows]
        for index, line in enumerate(lines):
            if line.truncated or line.partial or len(line) > LINE_FIELDS:
                rows[index] = {**rows[index], **_said(line)}
        for records in shaped(range(len(rows)), rows):
            yield _known(records)

    def _hidden(self, row: Any, hide: Callable[[Any], dict[Any, Any]]) -> dict[Any, Any]:
        try:
            return hide(row)
        except RecursionError:  # what was not looked at must not pass
            return {("drop", WITHHELD): None}

    def _row(
        self, line: bytes | None, parser: Callable[[str], dict[str, Any] | None] | None
    ) -> dict[Any, Any]:
        if line is None:
            return {("drop", WITHHELD): None}
        bare = line.strip()
        if not bare:
            return {("drop", EMPTY): None}
        text = line.decode(errors="replace")
        fields = None
        if self._json and bare.startswith(b"{"):
            found = decoded([bare.decode(errors="replace").encode()])[0]
            fields = found if isinstance(found, dict) else None
        if fields is None and parser is not None:
            fields = parser(text)
        row: dict[Any, Any] = {_TEXT: text} if fields is None else dict(fields)
        # U+FFFD may also stand in the line itself; then both are the same length.
        if "\ufffd" in text and text.encode() != line:
            row[INVALID_UTF8,] = True
        return row


def decoded(lines: Sequence[bytes]) -> list[Any]:
    """The JSON object of each line, as a dict; the line itself where it is none. Of a key that
    stands twice the last value counts, and the others go nowhere."""
    try:
        rows = [_decode(line) for line in lines]
    except _TROUBLE:
        rows = [_decoded(line) for line in lines]
    return [row if type(row) is dict else line for row, line in zip(rows, lines, strict=True)]


def _decoded(line: bytes) -> Any:
    try:
        return _decode(line)
    except _TROUBLE:
        return None


def _said(line: Line | Shaped) -> Mapping[tuple[str], Any]:
    """What is known of a line beside its text, as fields of the reader's own."""
    known: dict[str, Any] = {}
    if line.truncated:
        known[TRUNCATED] = True
    if line.partial:
        known[PARTIAL] = True
    known |= getattr(line, "extra", {})
    if "time" in known:
        known[ENVELOPE_TIME] = known.pop("time")
    return {(name,): value for name, value in known.items()}


def _known(records: Records) -> Records:
    """``records`` with fields of the reader's own in their place, and none that were forged."""
    columns: dict[Any, Any] = records.columns
    for name in [n for n in columns if type(n) is tuple or n.startswith(OWN)]:
        column = columns.pop(name)
        if name == _TEXT:
            records.body = column.values
        elif type(name) is tuple and len(name) == 2:
            records.drop = name[1]
        elif type(name) is tuple:
            columns[name[0]] = column
    return records
