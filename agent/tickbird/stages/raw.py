"""Raw mode: a record's body is the redacted line as it is; its attributes are the agent's own.

Time, severity and ids are what they are in structured mode, since the same stages find them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING

from ..logrecords import Column, Records
from .fields import OWN

if TYPE_CHECKING:
    from ..sources.logtail import Line
    from . import Shaped

MODE = "tickbird.log.mode"
"""The attribute of a record that leaves structured in spite of raw mode; its value is
``structured``. Its fields showed a secret that its text did not (a key in an odd spelling, a value
on the line after its key), so the text must not pass."""


def kept_structured(records: Records, hidden: Set[int]) -> Iterator[Records]:
    """``records``, those at ``hidden`` marked: of them a secret went that is still in the text."""
    marked, rest = records.split([place in hidden for place in range(len(records))])
    marked.columns[MODE] = Column(["structured"] * len(marked))
    yield marked
    if len(rest):
        yield rest


def raw(records: Records, lines: Sequence[Line | Shaped], texts: Sequence[bytes | None]) -> None:
    """Put ``texts``, the ``lines`` after redaction, in the place of what they say. Names of what is
    known beside a line are alike in ``records`` of one shape."""
    if MODE in records.columns:
        return
    records.body = [(texts[index] or b"").decode(errors="replace") for index in records.lines]
    beside = getattr(lines[records.lines[0]], "extra", {})
    records.columns = {
        name: column
        for name, column in records.columns.items()
        if name.startswith(OWN) or name in beside
    }
