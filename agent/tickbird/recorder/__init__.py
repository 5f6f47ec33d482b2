"""The flight recorder: the last minutes of every target in memory, one window a second.

It keeps what a person asks for after the fact (CPU, memory, loop delay, requests by route, stalls,
error lines), bounded in seconds and in bytes, and outlives the process it speaks of.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from ..model import Item, LogRecord, Stall, Target
from .track import TargetView, Track

__all__ = ["Recorder", "TargetView"]

MAX_ERROR_BODY = 2_048
"""Characters kept of an error line."""


class Recorder:
    """Thread-safe. ``keep`` is in seconds; ``memory`` in bytes is the most that all targets may
    hold together, the oldest windows leave first."""

    def __init__(self, keep: float, memory: int) -> None:
        self.keep = keep
        self.memory = memory
        self._lock = threading.Lock()
        self._tracks: dict[str, Track] = {}
        self._opened: float | None = None
        self._tidied = 0.0

    def record(self, target: Target, items: Iterable[Item], now: float) -> None:
        """Take what a source yielded at ``now`` (Unix seconds)."""
        with self._lock:
            track = self._track(target, now)
            track.follow(target, now)
            for item in items:
                track.take(item, now)
            if abs(now - self._tidied) >= 1.0:
                self._tidied = now
                self._tidy(now)

    def know(self, target: Target, now: float) -> None:
        """Begin the history of a target that may have nothing but logs; a known one goes on."""
        with self._lock:
            self._track(target, now)

    def _track(self, target: Target, now: float) -> Track:
        if self._opened is None:
            self._opened = now
        track = self._tracks.get(target.key)
        if track is None:
            track = self._tracks[target.key] = Track(target, self._opened, now)
        return track

    def record_log(self, target_key: str, record: LogRecord) -> None:
        """Keep an error line (severity 17 and above) of a target that is already known."""
        if record.severity_number < 17:
            return
        with self._lock:
            if (track := self._tracks.get(target_key)) is not None:
                track.errors.append(replace(record, body=record.body[:MAX_ERROR_BODY]))

    def end(self, target_key: str, now: float) -> None:
        """The process ended; its history stays until it ages out."""
        with self._lock:
            if (track := self._tracks.get(target_key)) is not None:
                track.end(now)

    def forget(self, target_key: str) -> None:
        """Nobody wants to know of the target any more; it did not end."""
        with self._lock:
            self._tracks.pop(target_key, None)

    def since(self, seconds: float, now: float) -> list[TargetView]:
        """Every target's last ``seconds`` before ``now``, in order of their keys."""
        with self._lock:
            for key in [k for k, t in self._tracks.items() if t.aged_out(now - self.keep)]:
                del self._tracks[key]
            tracks = sorted(self._tracks.items())
            return [track.view(now - seconds, now) for _, track in tracks]

    def settled(self, now: float) -> list[tuple[Target, list[Stall]]]:
        """Stalls that have ended since the last call, with all that is known of them; each once."""
        with self._lock:
            found = [(track.target, track.settled(now)) for track in self._tracks.values()]
            return [(target, stalls) for target, stalls in found if stalls]

    def bytes(self) -> int:
        """Estimate of the memory held, in bytes."""
        with self._lock:
            return sum(track.bytes for track in self._tracks.values())

    def _tidy(self, now: float) -> None:
        """Hold both bounds; once a second, since it looks at every target."""
        for track in self._tracks.values():
            track.expire(now - self.keep)
        held = sum(track.bytes for track in self._tracks.values())
        if held <= self.memory:
            return
        goal = self.memory - self.memory // 20
        while held > goal:
            full = [track.series for track in self._tracks.values() if track.series.windows]
            if not full:
                return
            held -= min(full, key=lambda series: series.windows[0].start).drop_oldest()
