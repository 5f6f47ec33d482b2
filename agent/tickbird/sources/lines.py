"""Bytes in, whole lines out. Only a line feed ends a line."""

from __future__ import annotations

from typing import NamedTuple

MAX_LINE = 240 * 1024
"""Bytes of a line that are kept; Loki takes 256 KB."""


class Line(NamedTuple):
    """A line without its end. ``end`` is the offset after it; ``truncated``: it was longer than
    ``MAX_LINE``; ``partial``: the file ended without a line end."""

    data: bytes
    offset: int
    end: int
    truncated: bool = False
    partial: bool = False


class Lines:
    """``begun`` is the offset at which the line begins whose end has not been seen; of that line
    at most ``MAX_LINE`` bytes are held."""

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self._held = bytearray()
        self._overlong = False

    def __bool__(self) -> bool:
        """Whether there is something of a line without an end."""
        return bool(self._held)

    def split(self, chunk: bytes, offset: int) -> list[Line]:
        """The lines that end in ``chunk``, which begins at ``offset``; it is shorter than
        ``MAX_LINE``."""
        first, *pieces = chunk.split(b"\n")
        self._hold(first)
        if not pieces:
            return []
        last = pieces.pop()
        start = offset + len(first) + 1
        lines = [self.end(start)]
        plain = b"\r" not in chunk and b"\0" not in chunk
        for piece in pieces:
            end = start + len(piece) + 1
            data = piece if plain else piece.lstrip(b"\0").removesuffix(b"\r")
            # Twice as fast as Line(...), and this is done for every line there is.
            lines.append(tuple.__new__(Line, (data, start, end, False, False)))
            start = end
        self.begun = start
        self._hold(last)
        return lines

    def end(self, offset: int, partial: bool = False) -> Line:
        """What is held, as a line that ends before ``offset``."""
        if not (self._overlong or partial):
            self._held = self._held.removesuffix(b"\r")
        line = Line(bytes(self._held), self.begun, offset, self._overlong, partial)
        self.begun = offset
        self._held.clear()
        self._overlong = False
        return line

    def _hold(self, piece: bytes) -> None:
        if not self._held and piece.startswith(b"\0"):
            # The hole that a writer leaves which goes on at its old offset after a truncation.
            piece = piece.lstrip(b"\0")
        room = MAX_LINE - len(self._held)
        self._overlong = self._overlong or len(piece) > room
        self._held += piece[:room]
