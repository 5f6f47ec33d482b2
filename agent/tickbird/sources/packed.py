"""The content of a log file that rotation has compressed, as a file without a name."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from .identity import FileId, Opened, open_regular

SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip")
"""Of compressed files; only the first kind can be read."""
RATIO = 250
"""Times its own size that a file may unpack to; logs reach a tenth of it."""
MOST = 1024 * 1024 * 1024
_CHUNK = 256 * 1024


def open_log(path: str, expected: FileId | None, unpack: Path | None) -> Opened:
    """Open a log file; one that is compressed is unpacked into the folder ``unpack``. Raises
    ``OSError`` for what is no regular file or not ``expected``, is still being compressed or
    would take too much room."""
    opened = open_regular(path, expected)
    if not path.endswith(SUFFIXES[0]):
        return opened
    try:
        return Opened(_unpacked(opened.file, unpack), opened.file_id, packed=True)
    finally:
        os.close(opened.file)


def _unpacked(file: int, folder: Path | None) -> int:
    import zlib  # noqa: PLC0415 - only where compressed files are asked for
    from gzip import GzipFile  # noqa: PLC0415

    limit = min(MOST, RATIO * os.fstat(file).st_size)
    with tempfile.TemporaryFile(dir=folder) as out, open(file, "rb", closefd=False) as packed:
        try:
            with GzipFile(fileobj=packed) as content:
                while chunk := content.read(_CHUNK):
                    out.write(chunk)
                    if out.tell() > limit:
                        raise OSError(errno.EFBIG, f"it unpacks to more than {limit} bytes")
        except (EOFError, zlib.error) as error:
            raise OSError(errno.EILSEQ, f"it is not wholly compressed: {error}") from error
        out.flush()
        return os.dup(out.fileno())
