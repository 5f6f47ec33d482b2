"""inotify(7) by ctypes: told when a file or a folder changes, instead of asking again and again."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

_MODIFY = 0x2
_CHANGES = 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""Of a folder: attributes, moves, creations and deletions in it, and its own end or move."""
_ONLY_FOLDER = 0x0100_0000
_ONCE = 0x8000_0000
_OVERFLOW = 0x4000
_EVENT = struct.Struct("=iIII")
_BUFFER = 64 * 1024
_SILENT = frozenset(
    {
        *(0x6969, 0x517B, 0xFF534D42, 0xFE534D42),  # NFS, SMB, CIFS, SMB 2
        *(0x65735546, 0x01021997, 0x00C36400, 0x5346414F),  # FUSE, 9P, Ceph, AFS
        *(0x0BD00BD0, 0x47504653, 0x786F4256, 0x19830326),  # Lustre, GPFS, vboxsf, BeeGFS
    }
)
"""Types of file systems (statfs(2)) that others can write to without this kernel knowing."""

Flags = ctypes.c_uint32


class Inotify:
    """One descriptor for any number of watches. Raises ``OSError`` where the kernel gives none:
    no Linux, or the user's instances (fs.inotify.max_user_instances) are used up."""

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = self._called(
                self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify"
            )
        except AttributeError as error:
            raise OSError(errno.ENOSYS, "no inotify on this system") from error

    def watch_file_once(self, descriptor: int) -> int:
        """A watch that tells of the next write or truncation of an open file, whatever its name
        is by then, and ends. Raises ``OSError``, also where changes would not be told."""
        # The path of a descriptor leads to the file itself: nothing can be renamed in between.
        return self._watch(f"/proc/self/fd/{descriptor}", _MODIFY | _ONCE)

    def watch_folder(self, path: str) -> int:
        """A watch that tells of names that come, go and move in a folder; asked for again, it is
        the same one as long as the folder is. Raises ``OSError`` as above."""
        return self._watch(path, _CHANGES | _ONLY_FOLDER)

    def told(self) -> set[int] | None:
        """The watches that something happened to since the last call; None: events were lost, so
        it may have been any of them."""
        fired: set[int] = set()
        while True:
            try:
                data = os.read(self.descriptor, _BUFFER)
            except BlockingIOError:
                return fired
            for watch, mask in parse(data):
                if mask & _OVERFLOW:
                    return None
                fired.add(watch)

    def close(self) -> None:
        os.close(self.descriptor)

    def _watch(self, path: str, mask: int) -> int:
        name = os.fsencode(path)
        if self._kind(name) in _SILENT:
            raise OSError(errno.EOPNOTSUPP, "a file system that does not tell of changes", path)
        return self._called(self._libc.inotify_add_watch(self.descriptor, name, Flags(mask)), path)

    def _kind(self, name: bytes) -> int:
        about = ctypes.create_string_buffer(256)
        self._called(self._libc.statfs(name, about), os.fsdecode(name))
        return int(ctypes.c_long.from_buffer(about).value) & 0xFFFF_FFFF

    @staticmethod
    def _called(result: int, what: str) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)
        return result


def parse(data: bytes) -> Iterator[tuple[int, int]]:
    """Watch and mask of each event in what was read from an inotify descriptor."""
    at = 0
    while at + _EVENT.size <= len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        yield watch, mask
        at += _EVENT.size + length
