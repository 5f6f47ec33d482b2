"""Log lines as Node and Python services write them: pino and structlog JSON, from a seed.

Three of five lines are pino's (requests, 15 keys, four of them nested), two structlog's. Two of a
hundred bear a secret: a bearer token in a header, a card number in a text, a password in a field.
One of a hundred is an error with its stack.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

_NOTES = (
    "request completed", "request completed", "incoming request", "cache miss, asking the database",
    "order accepted", "retrying the upstream call", "session refreshed",
)  # fmt: skip
_STACK = (
    "TypeError: Cannot read properties of undefined (reading 'id')\n"
    "    at handler (/srv/app/routes/orders.js:42:17)\n"
    "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"
)


def write(path: Path, lines: int, seed: int = 7) -> None:
    """Write ``lines`` lines to ``path``; times begin an hour ago, so that no limit on age bites."""
    rng = random.Random(seed)
    now = _start()
    with path.open("w") as file:
        for number in range(lines):
            now += rng.randint(0, 3)
            line = _pino(rng, number, now) if rng.random() < 0.6 else _structlog(rng, number, now)
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _start() -> int:
    import time  # noqa: PLC0415

    return int(time.time() * 1000) - 3_600_000


def _hex(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(digits * 4) | 1:0{digits}x}"


def _pino(rng: random.Random, number: int, now: int) -> dict[str, Any]:
    level = rng.choices((30, 20, 40, 50), (90, 5, 4, 1))[0]
    request: dict[str, Any] = {
        "method": rng.choice(("GET", "GET", "GET", "POST", "PUT", "DELETE")),
        "url": f"/api/v1/orders/{rng.randint(1, 999_999)}",
        "remoteAddress": f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
    }
    line: dict[str, Any] = {
        "level": level, "time": now, "pid": 17, "hostname": "checkout-x2k4q", "seq": number,
        "reqId": f"req-{number:x}", "trace_id": _hex(rng, 32), "span_id": _hex(rng, 16),
        "req": request,
    }  # fmt: skip
    secret = rng.random()
    if secret < 0.01:
        token = f"Bearer eyJhbGciOiJIUzI1NiJ9.{_hex(rng, 40)}.{_hex(rng, 43)}"
        request["headers"] = {"authorization": token}
    elif secret < 0.02:
        card = f"4111 1111 1111 {rng.randint(1000, 9999)}"
        line["note"] = f"user {_hex(rng, 6)}@example.com paid with {card}"
    if level == 50:
        line["err"] = {"type": "TypeError", "message": _STACK.partition("\n")[0], "stack": _STACK}
    line["res"] = {"statusCode": rng.choice((200, 200, 200, 201, 304, 404, 500))}
    line["responseTime"] = round(rng.expovariate(1 / 20), 3)
    line["msg"] = rng.choice(_NOTES)
    return line


def _structlog(rng: random.Random, number: int, now: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "user_id": rng.randint(1, 100_000), "duration": round(rng.expovariate(50), 6),
        "path": rng.choice(("/cart", "/cart/items", "/checkout", "/health")), "seq": number,
        "request_id": f"{_hex(rng, 8)}-{_hex(rng, 4)}-{_hex(rng, 12)}",
        "trace_id": _hex(rng, 32), "span_id": _hex(rng, 16), "logger": "shop.cart",
        "event": rng.choice(("cart loaded", "cart saved", "price looked up", "stock checked")),
        "level": rng.choices(("info", "debug", "warning", "error"), (90, 5, 4, 1))[0],
        "timestamp": _iso(now),
    }  # fmt: skip
    if rng.random() < 0.01:
        line["password"] = _hex(rng, 12)
    return line


def _iso(milliseconds: int) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")
