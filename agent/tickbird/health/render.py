"""The report for people: plain text, Markdown or one self-contained HTML page."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import words

Document = Mapping[str, Any]
Paint = Callable[[str, str], str]
"""Takes a text and a style (ok, warn, fail, unknown, dim, bold) and returns the text to show."""

WIDTH = 80
JUST_STARTED = 5.0
"""Seconds of a process's life that may be missed and it still counts as watched from its start."""
_COUNTED_BY_KIT = frozenset({"python", "asyncio", "uvloop"})
_ORDER = ("fail", "warn", "unknown", "ok")


def plain(value: str, style: str) -> str:  # noqa: ARG001 - a Paint that paints nothing
    return value


def as_json(document: Document) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_text(document: Document, paint: Paint = plain) -> str:
    """At most 80 columns, colours by ``paint``; ends with a newline."""
    lines = []
    for entry in flat(document):
        lines += _entry_text(entry, document["generated_at"], paint)
        lines.append("")
    for service in document["services"]:
        lines += [paint(_all_of(service), "bold")]
        lines += [f"  {label:<7}{value}" for label, value in facts_of_all(service)] + [""]
    if not document["targets"]:
        lines += [paint("no target is watched", "unknown"), ""]
    for finding in _grave(document["findings"]):
        lines += _finding_text(finding, paint)
    lines.append(_verdict(document, paint))
    return "\n".join(lines) + "\n"


def flat(document: Document) -> Iterable[Document]:
    """Targets and their workers, each after its master."""
    for entry in document["targets"]:
        yield entry
        yield from entry["workers"]


def _entry_text(entry: Document, until: float, paint: Paint) -> list[str]:
    pid = f"pid {entry['pid']}" if entry["pid"] else "no process"
    about = f"  {entry['runtime']}, {pid}{_watched(entry, until)}"
    lines = [paint(words.printable(entry["key"]), "bold") + paint(about, "dim")]
    lines += [f"  {label:<7}{value}" for label, value in facts(entry)]
    for finding in _grave(entry["findings"]):
        lines += _finding_text(finding, paint)
    if passed := _passed(entry):
        listed = textwrap.wrap("ok: " + passed, WIDTH - 4, break_on_hyphens=False)
        lines += [paint(f"  {'  ' if i else ''}{line}", "dim") for i, line in enumerate(listed)]
    return lines


def _passed(entry: Document) -> str:
    return ", ".join(f["check"] for f in entry["findings"] if f["status"] == "ok")


def _watched(entry: Document, until: float) -> str:
    """For how long; only where that is shorter than the process has lived."""
    since, started = entry["watched_since"], entry["started_at"]
    if entry["ended_at"] or (started is not None and since - started < JUST_STARTED):
        return ""
    return f", watched for {words.seconds(max(0.0, until - since))}"


def facts(entry: Document) -> list[tuple[str, str]]:
    """What was measured of a target, as (label, sentence); what is not known is left out."""
    found = [("uses", use) for use in [_use(entry)] if use]
    if (loop := entry["loop"]) is not None:
        found.append(("loop", _loop(loop)))
    if (http := entry["http"]) is not None:
        found.append(("http", _http(http)))
    elif entry["runtime"] in _COUNTED_BY_KIT and not entry["workers"]:
        found.append(("http", "not counted: a Python service does that with tickbird.kit"))
    if (logs := entry["logs"]) is not None:
        found.append(("logs", _logs(logs)))
    return found


def _all_of(service: Document) -> str:
    return f"{words.printable(service['name'])}, {len(service['keys'])} processes together"


def facts_of_all(service: Document) -> list[tuple[str, str]]:
    """The same of a service of several processes."""
    found = [("uses", use) for use in [_use(service)] if use]
    for loop in service["loops"]:
        measured = words.count(len(loop["keys"]), "loop")
        found.append(("loop", f"{_loop(loop)}; {measured}, the worst {loop['worst']}"))
    if (http := service["http"]) is not None:
        found.append(("http", _http(http)))
    return found


def _use(entry: Document) -> str:
    parts = []
    if (cpu := entry["cpu"]["utilization"]) is not None:
        parts.append(f"CPU {words.share(cpu)} of a core")
    if (rss := entry["memory"]["rss_bytes"]) is not None:
        limit = entry["memory"].get("limit_bytes")
        parts.append(f"memory {words.size(rss)}" + (f" of {words.size(limit)}" if limit else ""))
    if (fds := entry["fds"]["open"]) is not None:
        parts.append(f"{fds} file descriptors")
    return ", ".join(parts)


def _loop(loop: Document) -> str:
    delay = loop["delay_seconds"]
    parts = [
        f"{name} {words.seconds(delay[name])}"
        for name in ("p50", "p99", "max")
        if delay[name] is not None
    ]
    text = "delay " + ", ".join(parts) if parts else "no iteration seen"
    stalls = loop["stalls"]
    if number := stalls if isinstance(stalls, int) else len(stalls):
        text += f"; {words.count(number, 'stall')}"
    if loop["utilization"] is not None:
        text += f"; busy {words.share(loop['utilization'])}"
    return f"{text} ({loop['method']}{'' if loop['exact'] else ', not exact'})"


def _http(http: Document) -> str:
    text = words.count(http["requests"], "request")
    if http["error_ratio"] is not None:
        text += f", {words.share(http['error_ratio'])} errors"
    if (p99 := http["duration_seconds"]["p99"]) is not None:
        text += f", p99 {words.seconds(p99)}"
    return f"{text} on {words.count(len(http['routes']), 'route')}"


def _logs(logs: Document) -> str:
    text = f"{logs['read']:,} read = {logs['delivered']:,} delivered"
    for name in ("refused", "dropped"):
        if lost := sum(logs[name].values()):
            text += f" + {lost:,} {name}"
    return f"{text} + {logs['queued']:,} queued"


def _grave(findings: Iterable[Document]) -> list[Document]:
    """All but the ok ones, the gravest first."""
    found = [finding for finding in findings if finding["status"] != "ok"]
    return sorted(found, key=lambda finding: _ORDER.index(finding["status"]))


def _finding_text(finding: Document, paint: Paint) -> list[str]:
    status = finding["status"]
    mark = f"{status.upper():<8}"
    lines = textwrap.wrap(words.printable(finding["title"]), WIDTH - 10, break_on_hyphens=False)
    found = [f"  {paint(mark, status)}{lines[0]}", *(f"{'':10}{line}" for line in lines[1:])]
    if finding["advice"]:
        advice = textwrap.wrap(finding["advice"], WIDTH - 12, break_on_hyphens=False)
        found.append(paint(f"{'':10}→ {advice[0]}", "dim"))
        found += [paint(f"{'':12}{line}", "dim") for line in advice[1:]]
    if finding["runbook"]:
        found.append(paint(f"{'':12}more in {finding['runbook']}", "dim"))
    return found


def _verdict(document: Document, paint: Paint) -> str:
    status = document["status"]
    kept = " · kept in memory (no Collector)" if document["sink"] == "recorder" else ""
    at = f"{words.clock(document['generated_at'])} · instance {document['instance']}{kept}"
    return f"{paint(status.upper(), status)} {paint(at, 'dim')}"


def as_markdown(document: Document) -> str:
    """For an issue or a chat: a table of targets, then what was found."""
    lines = [
        f"# Health: {document['status'].upper()}",
        "",
        f"{words.clock(document['generated_at'])}, instance `{document['instance']}`",
        "",
    ]
    for entry in flat(document):
        pid = entry["pid"] or "none"
        lines += [f"## {_md(entry['key'])}", "", f"- runtime: {entry['runtime']}, pid: {pid}"]
        lines += [f"- {label}: {_md(value)}" for label, value in facts(entry)]
        lines += [""] + [_finding_md(finding) for finding in _grave(entry["findings"])]
        lines += [f"- ok: {_md(_passed(entry))}", ""] if _passed(entry) else [""]
    for service in document["services"]:
        lines += [f"## {_md(_all_of(service))}", ""]
        lines += [*(f"- {label}: {_md(value)}" for label, value in facts_of_all(service)), ""]
    lines += [_finding_md(finding) for finding in _grave(document["findings"])]
    return "\n".join(lines).rstrip() + "\n"


def _finding_md(finding: Document) -> str:
    advice = f"<br>{_md(finding['advice'])}" if finding["advice"] else ""
    book = f" ([runbook]({finding['runbook']}))" if finding["runbook"] else ""
    return f"- **{finding['status'].upper()}** {_md(finding['title'])}{book}{advice}"


def _md(text: str) -> str:
    """Route and file names may hold characters that Markdown or HTML would take for its own."""
    escaped = html.escape(text, quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in escaped)


_STYLE = """
:root{color-scheme:light dark;--ok:#1a7f37;--warn:#9a6700;--fail:#cf222e;--unknown:#0969da}
body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h2{margin:1.8rem 0 .3rem}dl{display:grid;grid-template-columns:4rem 1fr;margin:.3rem 0}
dt{opacity:.65}dd{margin:0}.finding{border-left:.3rem solid;padding:.2rem .8rem;margin:.6rem 0}
.finding p{margin:0}.ok{border-color:var(--ok)}.warn{border-color:var(--warn)}
.fail{border-color:var(--fail)}.unknown{border-color:var(--unknown)}.dim{opacity:.7}
"""


def as_html(document: Document) -> str:
    """One page that needs nothing else: no script, no font, no picture from elsewhere."""
    body = [
        f"<h1>Health: {html.escape(document['status'].upper())}</h1>",
        f'<p class="dim">{words.clock(document["generated_at"])}, '
        f"instance {html.escape(document['instance'])}</p>",
    ]
    for entry in flat(document):
        pid = entry["pid"] or "none"
        body.append(f"<h2>{html.escape(entry['key'])}</h2>")
        body.append(f'<p class="dim">{html.escape(entry["runtime"])}, pid {pid}</p><dl>')
        body += [f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in facts(entry)]
        body.append("</dl>")
        body += [_finding_html(finding) for finding in _grave(entry["findings"])]
        if passed := _passed(entry):
            body.append(f'<p class="dim">ok: {html.escape(passed)}</p>')
    for service in document["services"]:
        body.append(f"<h2>{html.escape(_all_of(service))}</h2><dl>")
        known = facts_of_all(service)
        body += [f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in known] + ["</dl>"]
    body += [_finding_html(finding) for finding in _grave(document["findings"])]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>tickbird health</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _finding_html(finding: Document) -> str:
    advice = f'<p class="dim">{html.escape(finding["advice"])}</p>' if finding["advice"] else ""
    status = finding["status"]
    return (
        f'<div class="finding {status}"><p><strong>{status.upper()}</strong> '
        f"{html.escape(finding['title'])}</p>{advice}</div>"
    )
