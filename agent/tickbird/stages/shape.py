"""Fields of lines, nested as they come, into records of one shape each, with flat dotted names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import msgspec

from ..logrecords import Column, Records

MAX_DEPTH = 6
"""Levels of nesting that become dotted keys; what lies deeper is kept as JSON text."""

_Columns = list[tuple[str, Column]]


def shaped(lines: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Iterator[Records]:
    """Records of ``rows``, the fields of ``lines``. Where two keys give one dotted name, the later
    one counts."""
    shapes: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, keys in enumerate(map(tuple, rows)):
        shapes[keys].append(index)
    for keys, indices in shapes.items():
        values = zip(*[rows[index].values() for index in indices], strict=True)
        columns = [(name, Column(column)) for name, column in zip(keys, values, strict=True)]
        yield from _flat([lines[index] for index in indices], {}, columns[::-1])


def json_text(value: object) -> str:
    """``value`` as JSON; a word in its place where it nests too deeply to be written."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return "(nested too deeply)"


def _flat(lines: Sequence[int], flat: dict[str, Column], left: _Columns) -> Iterator[Records]:
    """``left`` are the columns to look at, the last one first."""
    while left:
        name, column = left.pop()
        if dict not in column.kinds:
            flat[name] = column if list not in column.kinds else _shallow(column)
        elif column.depth >= MAX_DEPTH:
            flat[name] = _as_text(column)
        else:
            shapes = _shapes(column)
            distinct = set(shapes)
            if len(distinct) > 1:
                left.append((name, column))
                yield from _apart(lines, flat, left, shapes, distinct)
                return
            keys = shapes[0] or ()
            if not keys:
                flat[name] = _as_text(column)
                continue
            values = zip(*map(dict.values, column.values), strict=True)
            inner = zip(keys, values, strict=True)
            deeper = [(f"{name}.{key}", Column(one, column.depth + 1)) for key, one in inner]
            left += reversed(deeper)
    yield Records(lines, flat)


def _apart(
    lines: Sequence[int],
    flat: Mapping[str, Column],
    left: _Columns,
    shapes: Sequence[object],
    distinct: set[Any],
) -> Iterator[Records]:
    for shape in distinct:
        wanted = [one == shape for one in shapes]
        yield from _flat(
            list(compress(lines, wanted)),
            {name: column.of(wanted) for name, column in flat.items()},
            [(name, column.of(wanted)) for name, column in left],
        )


def _shapes(column: Column) -> list[tuple[str, ...] | None]:
    """The keys of each object; None for what is none."""
    if column.kind is dict:
        return list(map(tuple, column.values))
    return [tuple(one) if type(one) is dict else None for one in column.values]


def _as_text(column: Column) -> Column:
    return Column([json_text(v) if type(v) is dict else v for v in column.values], column.depth)


def _shallow(column: Column) -> Column:
    """Lists that nest deeper than objects may become JSON text."""
    room = MAX_DEPTH - column.depth
    return Column([_fitting(value, room) for value in column.values], column.depth)


def _fitting(value: object, room: int) -> object:
    if isinstance(value, list):
        return [_fitting(one, room - 1) for one in value] if room > 0 else json_text(value)
    if isinstance(value, dict):
        inner = {key: _fitting(one, room - 1) for key, one in value.items()}
        return inner if room > 0 else json_text(value)
    return value
