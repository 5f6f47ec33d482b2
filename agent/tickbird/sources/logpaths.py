"""Which files the patterns of one target name now, and why some name none."""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .identity import FileId, file_id
from .packed import SUFFIXES


class Found(NamedTuple):
    path: str
    status: os.stat_result


class LogPaths:
    """``problems`` has a line for each file or pattern that cannot be read, by what it is about,
    as of the last ``find``."""

    def __init__(
        self, patterns: Sequence[str], exclude: Sequence[Path] = (), packed: bool = False
    ) -> None:
        """Nothing below the folders ``exclude`` is found; compressed files only if ``packed``."""
        self.patterns = tuple(patterns)
        self.problems: dict[str, str] = {}
        self._exclude = [path.resolve() for path in exclude]
        self._own_output = set(_own_output())
        self._ignored = SUFFIXES[1:] if packed else SUFFIXES
        self._allowed: dict[tuple[str, FileId], bool] = {}

    def find(self) -> dict[FileId, Found]:
        """Every regular file that matches, by identity."""
        found: dict[FileId, Found] = {}
        allowed: dict[tuple[str, FileId], bool] = {}
        self.problems.clear()
        for pattern in self.patterns:
            there = False
            for path in _matching(pattern):
                if (status := self._status(path)) is None:
                    continue
                there = True
                if not stat.S_ISREG(status.st_mode) or path.endswith(self._ignored):
                    continue
                key = path, file_id(status)
                if key not in self._allowed:
                    self._allowed[key] = self._may_be_read(*key)
                allowed[key] = self._allowed[key]
                if allowed[key]:
                    found.setdefault(key[1], Found(path, status))
            if not there and (why := _why_nothing(pattern)):
                self.problem(pattern, why)
        self._allowed = allowed
        return found

    def folders(self) -> set[str]:
        """Those whose names decide what is found."""
        return {folder for pattern in self.patterns for folder in _folders(pattern)}

    def match(self, path: str) -> bool:
        """Whether ``path`` is one that a pattern names, there or not: ``find`` has it if it is."""
        parts = Path(path).parts
        return any(_names(Path(pattern).parts, parts) for pattern in self.patterns)

    def problem(self, what: str, why: str) -> None:
        """Note why ``what`` cannot be read; until the next ``find``."""
        self.problems[what] = f"cannot read {what}: {why}"

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)  # noqa: PTH116 - for every file, again and again
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.problem(path, reason(error))
            return None  # it is not there yet, or went away between the two looks

    def _may_be_read(self, path: str, identity: FileId) -> bool:
        if identity in self._own_output:
            return False
        resolved = Path(path).resolve()
        return not any(resolved.is_relative_to(folder) for folder in self._exclude)


def reason(error: OSError) -> str:
    """Why a file cannot be read, for people, with what to do where that is known."""
    if isinstance(error, PermissionError):
        return "permission denied; what to do: give this user read permission"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files; what to do: raise the limit (ulimit -n)"
    return (error.strerror or str(error)).lower()


def _own_output() -> Iterator[FileId]:
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield file_id(status)


def _matching(pattern: str) -> list[str]:
    pattern = re.sub("//+", "/", pattern)  # the siblings of a path are known without them
    # Not Path.glob: that one takes no absolute pattern.
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    return [pattern]


def _names(wanted: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """The rule of ``glob``, part by part of a path: ``**`` stands for any number of folders, and
    nothing but a dot stands for a dot at the beginning."""
    if not (wanted and parts):
        return wanted == parts
    first, rest = wanted[0], wanted[1:] or ("*",)
    hidden = parts[0].startswith(".") and not first.startswith(".")
    if first == "**":
        return _names(rest, parts) or (not hidden and _names(wanted, parts[1:]))
    return not hidden and fnmatch.fnmatchcase(parts[0], first) and _names(wanted[1:], parts[1:])


def _folders(pattern: str) -> Iterator[str]:
    """The folders that may hold a match, and those that may come to hold such folders."""
    folder = os.path.dirname(pattern)  # noqa: PTH120 - keeps the slash at the end of a pattern
    if not glob.has_magic(folder):
        yield _existing(folder)
        return
    yield from _folders(folder)
    yield from (found.rstrip("/") for found in glob.glob(f"{folder}/", recursive=True))  # noqa: PTH207


def _existing(folder: str) -> str:
    """``folder``, or the nearest above it that exists."""
    while folder and not os.path.isdir(folder):  # noqa: PTH112 - again and again
        folder = os.path.dirname(folder)  # noqa: PTH120
    return folder or "."


def _why_nothing(pattern: str) -> str | None:
    folder = Path(re.split(r"[*?\[]", pattern, maxsplit=1)[0] or ".")
    folder = folder if pattern.startswith(f"{folder}/") else folder.parent
    if not folder.is_dir():
        return f"there is no folder {folder}; what to do: correct the path, or make the folder"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"no permission to list {folder}; what to do: give this user read permission"
    return None
