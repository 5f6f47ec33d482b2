"""The faults of this run: what, where and how much, all drawn from one seed."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from truth import Truth

ROUTES = ("/cart", "/checkout", "/search", "/items/{item}", "/login")
HEAP_CAP = 200_000_000
HEAP_TICK = 0.1


class Faults:
    def __init__(self, seed: int, truth: Truth) -> None:
        # The runtime's name makes the two samples differ.
        self._random = random.Random(f"{seed}:python")
        self._truth = truth
        failing, slow = self._random.sample(ROUTES, 2)
        between = self._random.uniform
        self.drawn: dict[str, dict[str, Any]] = {
            "fail": {"route": failing, "ratio": between(0.03, 0.15)},
            "slow": {"route": slow, "seconds": between(0.25, 0.9), "jitter": 0.1},
            "block": {
                "seconds": [0.15, 0.4],
                "every": [2, 5],
                "function": self._block.__qualname__,
            },
            "leak": {"bytes_per_second": between(1e6, 4e6), "cap_bytes": HEAP_CAP},
        }
        self._held: list[bytes] = []

    def start(self) -> None:
        """Begin to block and to leak; call it in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._next_block()
        self._leak()

    def fails(self, route: str) -> bool:
        fail = self.drawn["fail"]
        return bool(route == fail["route"] and self._random.random() < fail["ratio"])

    def delay(self, route: str) -> float:
        """Seconds that a request takes: a few milliseconds, unless its route is the slow one."""
        slow = self.drawn["slow"]
        if route != slow["route"]:
            return self._random.uniform(0.001, 0.01)
        jitter = self._random.uniform(1 - slow["jitter"], 1 + slow["jitter"])
        return float(slow["seconds"] * jitter)

    def _next_block(self) -> None:
        self._loop.call_later(self._random.uniform(*self.drawn["block"]["every"]), self._block)

    def _block(self) -> None:
        duration = self._random.uniform(*self.drawn["block"]["seconds"])
        start, began = time.time(), time.monotonic()
        while time.monotonic() - began < duration:
            pass
        blocked = time.monotonic() - began
        self._loop.call_soon(lambda: self._truth.blocked(start, blocked, time.monotonic() - began))
        self._next_block()

    def _leak(self) -> None:
        if self._truth.held_bytes >= HEAP_CAP:
            return
        size = round(self.drawn["leak"]["bytes_per_second"] * HEAP_TICK)
        self._held.append(b"x" * size)  # not zeros: those would be promised, not resident
        self._truth.held_bytes += size
        self._loop.call_later(HEAP_TICK, self._leak)
