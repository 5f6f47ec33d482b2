"""Symbols of a program that runs: 64-bit little-endian ELF, which is what Node is built as."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOL_TABLES = (11, 2)  # SHT_DYNSYM is always there, SHT_SYMTAB unless stripped
_PIE = 3  # ET_DYN


class Elf:
    """One file, mapped. Raises ``ValueError`` for another format, ``OSError`` when it cannot be
    read."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if self._data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
        header = _HEADER.unpack_from(self._data)
        self.movable = header[1] == _PIE
        """Whether addresses count from where the file is mapped."""
        offset, size, count = header[6], header[11], header[12]
        self._sections = [_SECTION.unpack_from(self._data, offset + size * n) for n in range(count)]

    def close(self) -> None:
        self._data.close()

    def symbol(self, name: str) -> int | None:
        """Its address as the file has it; None when it has none."""
        wanted = b"\0" + name.encode() + b"\0"
        for kind in _SYMBOL_TABLES:
            for section in self._sections:
                if section[1] == kind:
                    strings = self._sections[section[6]]
                    start, end = strings[4], strings[4] + strings[5]
                    at = self._data.find(wanted, start, end)
                    if at >= 0 and (found := self._defined(section, at + 1 - start)) is not None:
                        return found
        return None

    def _defined(self, table: tuple[int, ...], name: int) -> int | None:
        start, size = table[4], table[5]
        for entry in self._named(start, start + size - size % _SYMBOL.size, name):
            if entry[3] != 0:  # SHN_UNDEF: it is another file's
                return int(entry[4])
        return None

    def _named(self, start: int, end: int, name: int) -> Iterator[tuple[int, ...]]:
        key = struct.pack("<I", name)
        at = self._data.find(key, start, end)
        while at >= 0:
            if (at - start) % _SYMBOL.size == 0:
                yield _SYMBOL.unpack_from(self._data, at)
            at = self._data.find(key, at + 1, end)

    def bytes_at(self, address: int, size: int) -> bytes:
        """What the file holds for a virtual address; empty when it holds nothing there."""
        for section in self._sections:
            at = address - section[3]
            if section[3] and 0 <= at < section[5]:
                return bytes(self._data[section[4] + at : section[4] + at + size])
        return b""
