"""The service's output on to our own, through a queue: a terminal that does not read, or a pipe
that nobody empties, costs what does not fit, never the service's time."""

from __future__ import annotations

import os
import threading
from collections import deque

QUEUE = 8 * 1024 * 1024


class Tee:
    """Writes to ``file`` from a thread of its own. ``not_shown`` counts bytes that found the
    queue full; ``closed`` tells that the reader went away."""

    def __init__(self, file: int, limit: int = QUEUE) -> None:
        self._file = file
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"tee-{file}", daemon=True)
        self.not_shown = 0
        self.closed = False

    def start(self) -> None:
        self._thread.start()

    def offer(self, data: bytes) -> bool:
        """Take ``data`` if it fits; never waits."""
        with self._changed:
            if self.closed:
                return False
            if self._size + len(data) > self._limit:
                self.not_shown += len(data)
                return False
            self._queue.append(data)
            self._size += len(data)
            self._changed.notify()
            return True

    def finish(self, seconds: float) -> bool:
        """Write what is queued; False when ``seconds`` were not enough."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._ending:
                    self._changed.wait()
                if not self._queue:
                    return
                data = self._queue.popleft()
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                with self._changed:
                    self.closed = True
                    self._queue.clear()
                return
            with self._changed:
                self._size -= len(data)
