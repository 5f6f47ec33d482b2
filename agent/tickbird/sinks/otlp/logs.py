"""Log records into OTLP protobuf bytes, written by hand: several times faster than building
messages, and held to the schema by property tests.

Source of the field numbers: opentelemetry/proto/logs/v1/logs.proto and its neighbours.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import Any

from ... import __version__
from ...logrecords import Column, Records, Severity
from .delivery import Outcome, Payload, unheard

CACHED_VALUES = 128
"""Values remembered per key; a key with more (an ID, say) is not remembered at all."""
CACHED_KEYS = 512
"""With more, all is forgotten and learned anew: what is remembered stays below 16 MB."""
CACHED_LENGTH = 128
REMEMBERED_SIZES = 1024

_U32 = struct.Struct("<I").pack
_STRING = b"\x0a"
_U64 = struct.Struct("<Q").pack
_DOUBLE = struct.Struct("<d").pack


class LogEncoder:
    """Encodes records of any number of targets. One thread at a time."""

    def __init__(self) -> None:
        self._keys: dict[str, _Field] = {}
        self._body = _Field()
        self._severities = _Severities()

    def encode(self, records: Records, observed_ns: int, attributes: bytes = b"") -> list[bytes]:
        """Each record, framed as the ``log_records`` field of a request; ``attributes`` (of
        ``encoded_attributes``) are those that all of them have."""
        if len(self._keys) > CACHED_KEYS:
            self._keys.clear()
        parts: list[Iterable[bytes]] = [repeat(b"\x59" + _U64(observed_ns) + attributes)]
        if records.time_ns is not None:
            parts += (repeat(b"\x09"), map(_U64, records.time_ns))
        if records.severity is not None:
            parts.append(map(self._severities.__getitem__, records.severity))
        body = records.body if records.body is not None else [""] * len(records)
        parts.append(self._body.texts(body))
        parts += [self._key(name).column(column) for name, column in records.columns.items()]
        if records.correlation_id is not None:
            parts.append(self._key("correlation_id").texts(records.correlation_id))
        if records.dropped_attributes is not None:
            parts += (repeat(b"\x38"), map(_varint, records.dropped_attributes))
        if records.trace_id is not None:
            parts += (repeat(b"\x4a\x10"), map(bytes.fromhex, records.trace_id))
        if records.span_id is not None:
            parts += (repeat(b"\x52\x08"), map(bytes.fromhex, records.span_id))
        if records.trace_flags is not None:
            parts += (repeat(b"\x45"), map(_U32, records.trace_flags))
        parts.append([b""] * len(records))  # one that ends, beside those that repeat
        whole = list(map(b"".join, zip(*parts, strict=False)))
        return list(map(add, map(_FRAMES.__getitem__, map(len, whole)), whole))

    def _key(self, name: str) -> _Field:
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = _Field(name)
        return found


class _Field(dict[str | int, bytes]):
    """Encodes the values of one attribute, or of the body. Remembers those that are text or whole
    numbers, and nothing that could be taken for one of them: ``True`` and 1.0 would be 1."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self._name = None if name is None else _field(0x0A, _utf8(name)) + b"\x12"
        self._texts = _Heads(self._name, _STRING)
        self._ints = _Heads(self._name, b"\x18")
        self._double = _head(self._name, 9) + b"\x21"
        self._many = False

    def column(self, column: Column) -> Iterable[bytes]:
        """One piece a value; the empty one for None."""
        kind, values = column.kind, column.values
        if kind is str:
            return self.texts(values)
        if kind is int:
            return self._integers(values)
        if kind is float:
            return map(add, repeat(self._double), map(_DOUBLE, values))
        return map(self._any, values)

    def texts(self, values: Sequence[str]) -> Iterable[bytes]:
        if self._many or (values and len(values[0]) > CACHED_LENGTH):
            return self._texts_anew(values)
        return map(self.__getitem__, values)

    def _texts_anew(self, values: Sequence[str]) -> Iterable[bytes]:
        try:
            raw = list(map(str.encode, values))
        except UnicodeEncodeError:
            raw = list(map(_utf8, values))
        return map(add, map(self._texts.__getitem__, map(len, raw)), raw)

    def __missing__(self, value: str | int) -> bytes:
        (encoded,) = (
            self._texts_anew((value,)) if isinstance(value, str) else self._integers_anew((value,))
        )
        if len(self) >= CACHED_VALUES:
            self._many = True
            self.clear()
        elif len(encoded) <= CACHED_LENGTH and not self._many:
            self[value] = encoded
        return encoded

    def _integers(self, values: Sequence[int]) -> Iterable[bytes]:
        if not self._many:
            return map(self.__getitem__, values)
        return self._integers_anew(values)

    def _integers_anew(self, values: Sequence[int]) -> Iterable[bytes]:
        if min(values) < -(2**63) or max(values) >= 2**63:
            return map(self._any, values)
        raw = _varints(values)
        return map(add, map(self._ints.__getitem__, map(len, raw)), raw)

    def _any(self, value: object) -> bytes:
        if value is None:
            return b""
        encoded = any_value(value)
        return _head(self._name, len(encoded)) + encoded


class _Heads(dict[int, bytes]):
    """What stands before the values of one field, texts or varints, by their size in bytes."""

    def __init__(self, name: bytes | None, tag: bytes) -> None:
        super().__init__()
        self._name = name
        self._tag = tag

    def __missing__(self, size: int) -> bytes:
        tag = self._tag + _varint(size) if self._tag == _STRING else self._tag
        head = _head(self._name, len(tag) + size) + tag
        if size < REMEMBERED_SIZES:
            self[size] = head
        return head


class _Frames(dict[int, bytes]):
    """What stands before whole records."""

    def __missing__(self, size: int) -> bytes:
        frame = b"\x12" + _varint(size)
        if size < REMEMBERED_SIZES:
            self[size] = frame
        return frame


def _head(name: bytes | None, size: int) -> bytes:
    """What stands before an AnyValue of ``size`` bytes: of an attribute, or (None) of the body."""
    if name is None:
        return b"\x2a" + _varint(size)
    head = name + _varint(size)
    return b"\x32" + _varint(len(head) + size) + head


class _Severities(dict[Severity, bytes]):
    def __missing__(self, severity: Severity) -> bytes:
        number, text = severity
        encoded = b"\x10" + _varint(number) + _field(0x1A, _utf8(text))
        if len(self) < CACHED_VALUES:
            self[severity] = encoded
        return encoded


def encoded_attributes(attributes: Mapping[str, object]) -> bytes:
    """Attributes of a record, for those that many records have in common."""
    return b"".join(_field(0x32, _key_value(key, value)) for key, value in attributes.items())


def resource_bytes(attributes: Mapping[str, str | int]) -> bytes:
    """A target's resource, framed for ``request``."""
    pairs = (_field(0x0A, _key_value(key, value)) for key, value in attributes.items())
    return _field(0x0A, b"".join(pairs))


def request(resource: bytes, records: Sequence[bytes]) -> bytes:
    """An ExportLogsServiceRequest of one resource."""
    return _field(0x0A, resource + _field(0x12, _SCOPE + b"".join(records)))


def payload(
    resource: bytes, records: Sequence[bytes], settle: Callable[[Outcome], None] = unheard
) -> Payload:
    """``records`` (from ``LogEncoder.encode``) as a payload that can be halved down to one."""

    def split() -> list[Payload]:
        middle = len(records) // 2
        return [payload(resource, records[:middle]), payload(resource, records[middle:])]

    return Payload(request(resource, records), len(records), split, settle)


def any_value(value: object) -> bytes:
    """An AnyValue. Whole numbers beyond 64 bits become text; None is the empty value."""
    encode = _ENCODERS.get(type(value))
    return encode(value) if encode else _text(str(value))


def _text(value: str) -> bytes:
    return _field(0x0A, _utf8(value))


def _int(value: int) -> bytes:
    return b"\x18" + _varint(value) if -(2**63) <= value < 2**63 else _text(str(value))


def _list(values: Sequence[object]) -> bytes:
    return _field(0x2A, b"".join(_field(0x0A, any_value(one)) for one in values))


def _mapping(value: Mapping[object, object]) -> bytes:
    pairs = (_field(0x0A, _key_value(str(key), one)) for key, one in value.items())
    return _field(0x32, b"".join(pairs))


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _text,
    bool: lambda value: b"\x10\x01" if value else b"\x10\x00",
    int: _int,
    float: lambda value: b"\x21" + _DOUBLE(value),
    list: _list,
    tuple: _list,
    dict: _mapping,
    type(None): lambda _: b"",
}


def _key_value(key: str, value: object) -> bytes:
    return _field(0x0A, _utf8(key)) + _field(0x12, any_value(value))


def _field(tag: int, data: bytes) -> bytes:
    """A length-delimited field; every tag here is one byte."""
    return bytes((tag,)) + _varint(len(data)) + data


def _utf8(text: str) -> bytes:
    # A lone surrogate has no UTF-8; protobuf refuses a whole request over one.
    return text.encode(errors="replace")


def _varints(numbers: Sequence[int]) -> list[bytes]:
    """The higher part by table, the lower 7 bits at a time: a larger table would not stay in the
    cache, and cost more than it spares."""
    if min(numbers) < 0 or max(numbers) >= 2**26:
        return list(map(_varint, numbers))
    return [
        _SMALL[n]
        if n < 2**12
        else _LOW[n & 127] + _SMALL[n >> 7]
        if n < 2**19
        else _LOW[n & 127] + _LOW[n >> 7 & 127] + _SMALL[n >> 14]
        for n in numbers
    ]


def _varint(number: int) -> bytes:
    if 0 <= number < 2**12:
        return _SMALL[number]
    return _encode_varint(number)


def _encode_varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = tuple(_encode_varint(number) for number in range(2**12))
_LOW = tuple(bytes((low | 0x80,)) for low in range(128))

_FRAMES = _Frames()
_SCOPE = _field(0x0A, _field(0x0A, b"tickbird") + _field(0x12, __version__.encode()))
