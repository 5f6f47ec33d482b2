"""Load for the sample services: requests at fixed times, whether or not the last has returned.

Only loopback addresses are asked. As a module: ``run(urls, rps, seconds, stop)``; by hand::

    python load.py --rps 20 --for 30 http://127.0.0.1:3000/cart "POST http://127.0.0.1:3000/login"
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 10.0
LATE = 0.1
TRACED_SHARE = 0.25


def shop_urls(port: int) -> list[str]:
    """What a visitor of a sample service on ``port`` asks for."""
    base = f"http://127.0.0.1:{port}"
    return [
        f"{base}/cart",
        f"POST {base}/checkout",
        f"{base}/search?q=bird",
        f"{base}/items/{random.randint(1, 99)}",
        f"POST {base}/login",
    ]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    host: str
    port: int
    path: str


def parse(url: str) -> Request:
    """``[METHOD ]http://127.0.0.1:PORT/PATH``; anything but a loopback address is a ValueError."""
    method, _, address = url.rpartition(" ")
    parts = urlsplit(address)
    try:
        local = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = False
    if parts.scheme != "http" or not local:
        raise ValueError(f"{address}: only http:// and a loopback address such as 127.0.0.1")
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return Request(method or "GET", str(parts.hostname), parts.port or 80, path)


def run(urls: list[str], rps: float, seconds: float, stop: threading.Event) -> dict[str, Any]:
    """Ask for ``urls`` in turn, ``rps`` times a second, until ``seconds`` have passed or ``stop``
    is set. Returns counts: sent, answered, failed (no answer), late (sent more than 0.1 s after
    their time), by_status and by_url ({"GET /path": {"200": n}})."""
    load = _Load([parse(url) for url in urls], rps, seconds, stop)
    workers = [
        threading.Thread(target=load.work, daemon=True) for _ in range(max(4, min(64, int(rps))))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return load.document()


class _Load:
    """One schedule, worked off by several threads, and what came of it."""

    def __init__(
        self, requests: list[Request], rps: float, seconds: float, stop: threading.Event
    ) -> None:
        self._requests = requests
        self._rps = rps
        self._seconds = seconds
        self._stop = stop
        self._begin = time.monotonic()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(sent=0, failed=0, late=0)
        self._answers: Counter[tuple[str, int]] = Counter()

    def work(self) -> None:
        """One worker: takes the next point in the schedule, waits for it, asks."""
        connections: dict[tuple[str, int], http.client.HTTPConnection] = {}
        while True:
            number = next(self._numbers)
            due = number / self._rps
            wait = self._begin + due - time.monotonic()
            if due >= self._seconds or self._stop.wait(max(0.0, wait)):
                break
            if wait < -LATE:
                self._count("late")
            self._ask(self._requests[number % len(self._requests)], connections)
        for connection in connections.values():
            connection.close()

    def _ask(
        self, request: Request, connections: dict[tuple[str, int], http.client.HTTPConnection]
    ) -> None:
        address = (request.host, request.port)
        if address not in connections:
            connections[address] = http.client.HTTPConnection(*address, timeout=TIMEOUT)
        connection = connections[address]
        self._count("sent")
        try:
            connection.request(request.method, request.path, headers=_headers())
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._count("failed")
            return
        with self._lock:
            path = request.path.partition("?")[0]
            self._answers[f"{request.method} {path}", response.status] += 1

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def document(self) -> dict[str, Any]:
        by_status: Counter[str] = Counter()
        by_url: dict[str, dict[str, int]] = {}
        for (url, status), count in self._answers.items():
            by_status[str(status)] += count
            by_url.setdefault(url, {})[str(status)] = count
        return {
            **self._counts,
            "answered": sum(by_status.values()),
            "by_status": dict(by_status),
            "by_url": by_url,
        }


def _headers() -> dict[str, str]:
    headers = {"x-request-id": f"load-{random.getrandbits(64):016x}"}
    if random.random() < TRACED_SHARE:
        trace, span = random.getrandbits(128), random.getrandbits(64)
        headers["traceparent"] = f"00-{trace or 1:032x}-{span or 1:016x}-01"
    return headers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--rps", type=float, default=20.0)
    parser.add_argument("--for", dest="seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(json.dumps(run(options.urls, options.rps, options.seconds, threading.Event())))


if __name__ == "__main__":
    main()
