"""A body for records that have none, such as access logs that are all fields.

It is made after redaction, of what redaction left.
"""

from __future__ import annotations

from ..logrecords import Records

LONGEST = 1024


def describe(records: Records) -> None:
    """Give records without a body the attributes as ``key=value``, at most ``LONGEST``
    characters."""
    if records.body is None:
        names = list(records.columns)
        rows = zip(*(column.values for column in records.columns.values()), strict=True)
        described = [_described(names, row) for row in rows]
        records.body = described or [""] * len(records)


def _described(names: list[str], values: tuple[object, ...]) -> str:
    parts: list[str] = []
    room = LONGEST
    for name, value in zip(names, values, strict=True):
        if value is None or name.startswith(("log.", "tickbird.")):
            continue
        part = f"{name}={value}"[:room]
        if not part:
            break
        parts.append(part)
        room = max(0, room - len(part) - 1)
    return " ".join(parts)
