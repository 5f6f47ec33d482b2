"""``tickbird demo``: real services with real faults, what the agent sees of them, and the proof."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ..config.units import duration
from ..demo.proof import EDGE, Claim, prove
from ..demo.samples import available
from ..demo.stage import Stage
from ..errors import Unreachable, UsageError
from ..health.render import as_text
from ..paths import state_home
from ..sinks.console import line
from . import client
from .ending import unwinding
from .output import coloured, note, say, say_json, typed

LOOK_EVERY = 5.0
SETTLE_SECONDS = 15.0
QUIET_SECONDS = 1.5
"""How long nothing more may be read before the books are compared: the services write their truth
files every half second, the agent closes a batch within a second."""
KEPT_RUNS = 5
SHORTEST = 20.0
"""A heap is not called growing before it has been looked at for a while."""
PROVEN_WRONG = 2


def demo(
    how_long: Annotated[
        str, typer.Option("--for", help="How long the services are under load.")
    ] = "60s",
    seed: Annotated[
        int | None, typer.Option(help="Draws the faults; the same seed, the same faults.")
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Send everything to the running stack as well.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, progress on stderr.")
    ] = False,
) -> int:
    """Watch two real services with real faults, and judge the report.

    One Express service (where Node.js is installed) and one FastAPI service run under load. A seed
    draws what is wrong with them: a loop that is blocked now and then, an endpoint that fails, a
    slow one, a growing heap. The agent watches from beside and reports. At the end what it says is
    held to what the services noted themselves; exit code 2 when the two differ.

    Nothing else is needed: no root, no engine, no backend. With --stack, metrics, logs and traces
    also go to the backends that `tickbird stack up` started.
    """
    seconds = _seconds(how_long)
    seed = random.randrange(1_000_000) if seed is None else seed
    services = available(note)
    if not services:
        raise Unreachable(
            "no sample service can run here", "pip install 'tickbird[demo]', or install Node.js"
        )
    folder = _folder(seed)
    collector = _collector() if stack else None
    tell = note if as_json else say
    tell(f"seed {seed}: {' and '.join(service.name for service in services)} with faults of theirs")
    with unwinding(), Stage(services, seed, folder, collector) as stage:
        run = _Run(stage, tell)
        run.watch(seconds)
        report, truths = run.finish()
    claims = prove(report, truths, run.began)
    if as_json:
        proof = [claim.as_dict() for claim in claims]
        say_json(report | {"demo": {"seed": seed, "folder": str(folder), "claims": proof}})
    else:
        say()
        say(as_text(report, coloured))
        _show_proof(claims, folder)
        _what_next(stack, services[-1].name)
    return 0 if all(claim.holds for claim in claims) else PROVEN_WRONG


def _seconds(text: str) -> float:
    try:
        seconds = duration(text)
    except ValueError as error:
        raise UsageError(f"--for {text}: {error}", "write it as 60s or 2m") from None
    if seconds < SHORTEST:
        raise UsageError(f"--for {text} is too short", f"give it at least {SHORTEST:g}s")
    return seconds


def _folder(seed: int) -> Path:
    """Where this run's truth files stay; only the last few runs are kept."""
    runs = state_home() / "demo"
    old = sorted((p for p in runs.glob("*-*") if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for path in old[: -KEPT_RUNS + 1 or None]:
        shutil.rmtree(path, ignore_errors=True)
    return runs / f"{time.strftime('%Y%m%dT%H%M%S')}-{seed}"


@dataclass(slots=True)
class _Run:
    stage: Stage
    tell: Callable[[str], None]
    began: float = 0.0

    def watch(self, seconds: float) -> None:
        """Load for ``seconds``, with a line for each service now and then."""
        agent = client.wait_for(self.stage.instance, SETTLE_SECONDS)
        self.began = time.time()
        self.stage.start_load(seconds)
        end = time.monotonic() + seconds
        look = time.monotonic() + LOOK_EVERY
        while (now := time.monotonic()) < end:
            if problem := self.stage.poll():
                self.tell(problem)
            if now >= look:
                look = now + LOOK_EVERY
                self._show(agent.report(LOOK_EVERY), end - now)
            time.sleep(0.2)

    def _show(self, report: dict[str, Any], left: float) -> None:
        for entry in report["targets"]:
            self.tell(f"{left:4.0f} s  {line(entry)}")

    def finish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Report and truth of one moment: once the load has ended and the books of both sides
        have not moved for a while. A health probe now and then still writes a line."""
        self.stage.end_load()
        agent = client.wait_for(self.stage.instance, SETTLE_SECONDS)
        end = time.monotonic() + SETTLE_SECONDS
        before: Any = None
        while True:
            report = agent.report(time.time() - self.began + EDGE)
            truths = dict(self.stage.truths())
            logs = [entry["logs"] for entry in report["targets"]]
            now = logs, [truth["log_lines"] for truth in truths.values()]
            settled = now == before and all(one and one["queued"] == 0 for one in logs)
            if settled or time.monotonic() >= end:
                return report, truths
            before = now
            time.sleep(QUIET_SECONDS)


def _collector() -> str:
    """OTLP/HTTP address of the running stack."""
    from ..stack.site import current  # noqa: PLC0415 - only with --stack

    backends = current()
    if backends is None or backends.collector is None:
        raise Unreachable(
            "--stack needs a running stack", "start one first: tickbird stack up --native"
        )
    return backends.collector


def _show_proof(claims: list[Claim], folder: Path) -> None:
    say("What the agent says, held to what the services noted themselves:")
    for claim in claims:
        mark = coloured("holds", "ok") if claim.holds else coloured("WRONG", "fail")
        detail = "" if claim.holds else f" (noted {claim.expected}, seen {claim.seen})"
        say(f"  {mark}  {claim.target}: {claim.what}{detail}")
    held = sum(claim.holds for claim in claims)
    say(f"{held} of {len(claims)} hold; the services' own notes: {folder}")


def _what_next(stack: bool, service: str) -> None:
    say()
    command = typed()
    if stack:
        _where_to_look(service)
    else:
        say(f"In real backends too:       {command} stack up --native, then {command} demo --stack")
    say(f"Beside a service of yours:  {command} exec -- node server.js, or {command} attach PID")


def _where_to_look(service: str) -> None:
    """What to open or paste to find the run again."""
    from ..stack.site import current  # noqa: PLC0415 - only with --stack

    backends = current()
    if backends is None:
        return
    say("In the backends now, for example:")
    seen = f'http_server_request_duration_seconds_count{{job="demo/{service}"}}'
    query = quote(f"last_over_time({seen}[1h])", safe="")
    say(f"  metrics  {backends.prometheus}/api/v1/query?query={query}")
    say(f"  traces   {backends.jaeger}/api/traces?service={service}&limit=5")
    say(f"  logs     curl -G {backends.loki}/loki/api/v1/query_range --data-urlencode \\")
    lines = f'{{service_name="{service}"}} | trace_id != ""'
    say(f"             'query={lines}'")


COMMANDS = {"demo": demo}
