"""``tickbird verify``: the proof that telemetry arrives where it should."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import config
from ..config import CollectorConfig, Config
from ..errors import Unreachable, UsageError
from ..stack.site import Backends, current, current_name
from ..stack.verify import Look, Result, Subject, look, prove
from .output import coloured, note, say, say_json

PROVEN_BROKEN = 2
_WAYS = {"direct": "straight to the Collector", "agent": "through an agent"}


def verify(
    path: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", help="Prove its collector and backends; else the stack that is up."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for each signal to be found.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Send a metric, a log line and a span, and find each again.

    One canary goes straight to the Collector by the OpenTelemetry SDK, one through an agent that is
    started for it. Each signal must be found in Prometheus, Loki or Jaeger. Exit 2 when one is not:
    the line says which part broke and what to do. Exit 69 when nothing answers at all.
    """
    began = time.time()
    subject = _subject(config.load(path) if path else None)
    looks = look(subject)
    if not as_json:
        _complain(looks)
    results = prove(subject, looks, timeout, (lambda _: None) if as_json else _tell)
    proven = all(result.ok for result in results) and not any(seen.problem for seen in looks)
    if as_json:
        say_json(
            {
                "schema": 1,
                "generated_at": began,
                "proven": proven,
                "backends": [asdict(seen) for seen in looks],
                "signals": [{**asdict(result), "ok": result.ok} for result in results],
            }
        )
    else:
        _conclude(looks, results)
    if proven:
        return 0
    asked = [seen for seen in looks if seen.url]
    return Unreachable.exit_code if all(seen.problem for seen in asked) else PROVEN_BROKEN


def _subject(chosen: Config | None) -> Subject:
    if chosen is None:
        backends = current() or Backends()
        collector = CollectorConfig(endpoint=backends.collector or "")
        return Subject(collector, backends, current_name())
    if chosen.collector is None:
        raise UsageError(
            "this configuration sends nowhere: it has no collector",
            "set collector.endpoint, or leave out --config to prove the stack that is up",
        )
    asked, endpoint = chosen.backends, chosen.collector.endpoint
    if asked.prometheus or asked.loki or asked.jaeger:
        given = (asked.prometheus, asked.loki, asked.jaeger, asked.alertmanager)
        return Subject(chosen.collector, Backends(endpoint, *given), None)
    up = current()
    if up is None or up.collector != endpoint.rstrip("/"):
        raise UsageError(
            "this configuration does not say where to look: it names no backend",
            "set backends.prometheus, backends.loki and backends.jaeger",
        )
    return Subject(chosen.collector, up, current_name())


def _tell(result: Result) -> None:
    what = f"{result.signal:<6} {_WAYS[result.way]}"
    if result.ok:
        say(f"{coloured('ok  ', 'ok')} {what:<33} in {result.backend:<10} {result.seconds:.2f} s")
        return
    say(f"{coloured('fail', 'fail')} {what:<33} in {result.backend:<10} {result.problem}")


def _complain(looks: list[Look]) -> None:
    for seen in looks:
        if seen.problem:
            note(f"{coloured('fail', 'fail', sys.stderr)} {seen.problem}")


def _conclude(looks: list[Look], results: list[Result]) -> None:
    """Each remedy once, then the verdict."""
    failed = [result for result in results if not result.ok]
    broken = [seen for seen in looks if seen.problem]
    remedies = [seen.remedy for seen in broken] + [result.remedy for result in failed]
    for remedy in dict.fromkeys(filter(None, remedies)):
        note(f"what to do: {remedy}")
    if broken:
        say(f"not proven: no answer from {', '.join(seen.backend for seen in broken)}")
    elif failed:
        say(f"not proven: {len(failed)} of {len(results)} signals did not arrive")
    else:
        say(f"proven: {len(results)} of {len(results)} signals arrived, by both ways")


COMMANDS = {"verify": verify}
