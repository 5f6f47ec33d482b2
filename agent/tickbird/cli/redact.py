"""``tickbird redact``: what redaction would do to a file, before it is trusted with it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import typer

from .. import config
from ..errors import UsageError
from ..sources.logtail import MAX_LINE
from ..stages.redact import Hit, Redactor
from .output import coloured, say, say_json

FOUND = 1
CONTEXT = 40
"""Bytes of the redacted line that are shown on either side."""
CHUNK = 64 * 1024
"""Bytes looked at together, as the agent does: a private key may stand on many lines."""


class Finding(NamedTuple):
    """One replacement; ``before`` and ``after`` are what stands around it, itself redacted."""

    line: int
    column: int
    rule: str
    before: str
    marker: str
    after: str
    secret: str


def redact(
    test: Annotated[
        str, typer.Option("--test", metavar="FILE", help="The log file to look at; - is stdin.")
    ],
    path: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="Use this file's redact settings, else the defaults."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the secrets themselves too. Mind who looks on.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Print at most so many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Show what redaction would take out of a log file, and by which rule.

    Nothing is changed and nothing is sent. Exit code: 0 nothing would be taken out, 1 something.
    """
    engine = Redactor((config.load(path) if path else config.default()).redact)
    shown: list[Finding] = []
    rules: Counter[str] = Counter()
    lines = changed = 0
    with _opened(test) as file:
        for chunk in _chunks(file):
            found = list(_findings(engine, lines + 1, b"\n".join(chunk)))
            lines += len(chunk)
            changed += len({one.line for one in found})
            rules.update(one.rule for one in found)
            shown += found[: limit - len(shown)]
    counts = dict(sorted(rules.items()))
    if as_json:
        findings = [_document(one, show) for one in shown]
        totals = {"lines": lines, "changed": changed, "rules": counts}
        say_json({"schema": 1, **totals, "findings": findings})
    else:
        for one in shown:
            _tell(one, show)
        _conclude(lines, changed, counts, sum(rules.values()) - len(shown))
    return FOUND if rules else 0


def _opened(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(
            f"{name}: cannot read: {error.strerror}", "name a log file you can read, or - for stdin"
        ) from None


def _chunks(file: BinaryIO) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    while text := file.readline(MAX_LINE):
        chunk.append(text.rstrip(b"\r\n"))
        size += len(text)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _findings(engine: Redactor, first: int, chunk: bytes) -> Iterator[Finding]:
    """``first``: the number of the chunk's first line."""
    chunk = engine.unescaped(chunk)
    number, start = first, 0
    for line, hits in groupby(engine.hits(chunk), lambda hit: chunk.rfind(b"\n", 0, hit.start) + 1):
        number += chunk.count(b"\n", start, line)
        start, end = line, chunk.find(b"\n", line)
        yield from _of_line(number, chunk[start : None if end < 0 else end], start, list(hits))


def _of_line(number: int, text: bytes, start: int, hits: list[Hit]) -> Iterator[Finding]:
    hits = [hit._replace(start=hit.start - start, end=hit.end - start) for hit in hits]
    for place, hit in enumerate(hits):
        before = _clean(text, hits[:place], 0, hit.start)[-CONTEXT:]
        after = _clean(text, hits[place + 1 :], hit.end, len(text))[:CONTEXT]
        parts = (before, hit.text, after, text[hit.start : hit.end])
        around = [_printable(part) for part in parts]
        yield Finding(number, hit.start + 1, hit.rule, *around)


def _clean(text: bytes, hits: list[Hit], start: int, end: int) -> bytes:
    parts = []
    for hit in hits:
        parts += [text[start : hit.start], hit.text]
        start = hit.end
    return b"".join([*parts, text[start:end]])


def _printable(text: bytes) -> str:
    """Text that cannot move a terminal's cursor or forge a line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text.decode(errors="replace")
    )


def _tell(one: Finding, show: bool) -> None:
    where = f"{one.line}:{one.column}"
    marker = coloured(one.marker, "ok")
    say(f"{where:>9}  {coloured(f'{one.rule:18}', 'bold')} {one.before}{marker}{one.after}")
    if show:
        say(f"{'':>9}  {'was':18} {coloured(one.secret, 'fail')}")


def _conclude(lines: int, changed: int, rules: dict[str, int], hidden: int) -> None:
    if hidden:
        say(f"… and {hidden:,} more; --limit shows more of them")
    counts = ", ".join(f"{rule} {count:,}" for rule, count in rules.items())
    plural = "" if lines == 1 else "s"
    say(f"{lines:,} line{plural}, {changed:,} changed{f': {counts}' if counts else ''}")


def _document(one: Finding, show: bool) -> dict[str, Any]:
    document = one._asdict()
    if not show:
        del document["secret"]
    return document


COMMANDS = {"redact": redact}
