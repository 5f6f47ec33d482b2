"""A body for records that have none, such as access logs that are all fields.

It is made after redaction, of what redaction left.
"""

from __future__ import annotations

from ..model import LogRecord

LONGEST = 1024


def describe(record: LogRecord) -> LogRecord:
    """Give an empty body the attributes as ``key=value``, at most ``LONGEST`` characters."""
    if not record.body and record.attributes:
        parts = []
        length = 0
        for key, value in record.attributes.items():
            if key.startswith(("log.", "tickbird.")):
                continue
            part = f"{key}={value}"[:LONGEST]
            length += len(part) + 1
            if length > LONGEST:
                break
            parts.append(part)
        record.body = " ".join(parts)
    return record
