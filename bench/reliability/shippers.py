"""What is under test: this agent, and the peers in their default and their most durable setup."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tickbird.paths import cache_home
from tickbird.stack import build
from tickbird.stack.recipes import RECIPES

PEERS = cache_home() / "bench"
"""Where a peer lies that is not installed: ``syslog-ng`` unpacked, since rsyslog excludes it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of one cell: its folder, the log file there, and where the sink listens."""

    folder: Path
    log: Path
    port: int


@dataclass(frozen=True, slots=True)
class Shipper:
    """``command`` writes its configuration below the folder and returns what to start; ``missing``
    says why it cannot be run, else None."""

    name: str
    setup: str
    protocol: str
    command: Callable[[Place], list[str]]
    missing: Callable[[], str | None]
    environ: dict[str, str] = field(default_factory=dict)


def start(shipper: Shipper, place: Place) -> subprocess.Popen[bytes]:
    with (place.folder / "said.log").open("ab") as said:
        return subprocess.Popen(
            shipper.command(place),
            stdout=said,
            stderr=said,
            env=os.environ | shipper.environ | {"TICKBIRD_RUNTIME_DIR": f"{place.folder}/run"},
        )


def _tickbird(place: Place) -> list[str]:
    config = place.folder / "tickbird.yaml"
    config.write_text(
        f"state_dir: {place.folder}/state\n"
        f"collector: {{endpoint: 'http://127.0.0.1:{place.port}'}}\n"
        "api: {listen: '127.0.0.1:0', token_file: none}\nintake: {otlp_http: '127.0.0.1:0'}\n"
        f"targets: [{{name: gen, logs: ['{place.log}']}}]\n"
    )
    return [sys.executable, "-m", "tickbird", "run", "-c", str(config)]


def _otelcol(durable: bool) -> Callable[[Place], list[str]]:
    receiver = (
        "include: ['{log}', '{log}.*'], start_at: beginning, storage: file_storage,"
        " retry_on_failure: {{enabled: true, max_elapsed_time: 0}}"
        if durable
        else "include: ['{log}']"
    )
    exporter = (
        "retry_on_failure: {{max_elapsed_time: 0}},"
        " sending_queue: {{storage: file_storage, block_on_overflow: true}}"
        if durable
        else ""
    )

    def command(place: Place) -> list[str]:
        store = place.folder / "storage"
        store.mkdir(exist_ok=True)
        storage = f"{{directory: '{store}', fsync: true}}"
        config = place.folder / "otelcol.yaml"
        config.write_text(
            (f"extensions: {{file_storage: {storage}}}\n" if durable else "")
            + f"receivers: {{filelog: {{{receiver.format(log=place.log)}}}}}\n"
            + f"exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{place.port}', "
            + f"{exporter.format()}}}}}\n"
            + "service:\n  telemetry: {metrics: {level: none}}\n"
            + ("  extensions: [file_storage]\n" if durable else "")
            + "  pipelines: {logs: {receivers: [filelog], exporters: [otlp_http]}}\n"
        )
        found = build.find(RECIPES["otelcol"])
        assert found is not None
        return [str(found.program), "--config", str(config)]

    return command


def _no_otelcol() -> str | None:
    return None if build.find(RECIPES["otelcol"]) else "the Collector is not built"


def _rsyslog(durable: bool) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        work = place.folder / "work"
        work.mkdir(exist_ok=True)
        state = ' PersistStateInterval="100"' if durable else ""
        lines = [
            f'global(workDirectory="{work}")',
            'module(load="imfile")',
            'template(name="raw" type="string" string="%msg%\\n")',
            f'input(type="imfile" File="{place.log}" Tag="gen"{state})',
        ]
        if durable:
            lines += [
                'module(load="omrelp")',
                f'action(type="omrelp" target="127.0.0.1" port="{place.port}" template="raw"'
                ' queue.type="Disk" queue.filename="gen" queue.checkpointInterval="1"'
                ' queue.maxDiskSpace="2g" queue.syncQueueFiles="on" action.resumeRetryCount="-1"'
                ' action.resumeInterval="5" action.resumeIntervalMax="10")',
            ]
        else:
            lines.append(
                f'action(type="omfwd" target="127.0.0.1" port="{place.port}" protocol="tcp"'
                ' template="raw")'
            )
        config = place.folder / "rsyslog.conf"
        config.write_text("\n".join(lines) + "\n")
        (place.folder / "rsyslog.pid").unlink(missing_ok=True)
        return ["rsyslogd", "-n", "-f", str(config), "-i", f"{place.folder}/rsyslog.pid"]

    return command


def _no_rsyslog() -> str | None:
    return None if shutil.which("rsyslogd") else "no rsyslogd: apt-get install rsyslog rsyslog-relp"


_UNPACKED = PEERS / "syslog-ng"


def _syslog_ng(durable: bool) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        buffers = place.folder / "buffers"
        buffers.mkdir(exist_ok=True)
        buffer = f' disk-buffer(reliable(yes) disk-buf-size(2147483648) dir("{buffers}"))'
        config = place.folder / "syslog-ng.conf"
        config.write_text(
            "@version: 3.38\n"
            f'source s {{ file("{place.log}" flags(no-parse)); }};\n'
            f'destination d {{ network("127.0.0.1" port({place.port}) template("${{MSG}}\\n")'
            f"{' time-reopen(5)' + buffer if durable else ''}); }};\n"
            f"log {{ source(s); destination(d);{' flags(flow-control);' if durable else ''} }};\n"
        )
        program = shutil.which("syslog-ng") or f"{_UNPACKED}/usr/sbin/syslog-ng"
        modules = [f"--module-path={_UNPACKED}/usr/lib/syslog-ng/3.38"]
        files = [f"{option}={place.folder}/syslog-ng.{option[2:4]}" for option in _SYSLOG_NG_FILES]
        return [program, "-F", "-f", str(config), *files, *(modules if _unpacked() else [])]

    return command


_SYSLOG_NG_FILES = ("--persist-file", "--pidfile", "--control")


def _unpacked() -> bool:
    return shutil.which("syslog-ng") is None and (_UNPACKED / "usr/sbin/syslog-ng").is_file()


def _no_syslog_ng() -> str | None:
    if shutil.which("syslog-ng") or _unpacked():
        return None
    return f"no syslog-ng: install it, or unpack syslog-ng-core into {_UNPACKED}"


_LIBRARIES = {
    "LD_LIBRARY_PATH": f"{_UNPACKED}/usr/lib/syslog-ng:{_UNPACKED}/lib/x86_64-linux-gnu"
    f":{_UNPACKED}/usr/lib/x86_64-linux-gnu"
}


def shippers() -> list[Shipper]:
    ours = Shipper("tickbird", "default", "otlp", _tickbird, lambda: None)
    peers = [ours]
    for durable, setup in ((False, "default"), (True, "most durable")):
        relp = "relp" if durable else "lines"
        peers += [
            Shipper("otelcol file_log", setup, "otlp", _otelcol(durable), _no_otelcol),
            Shipper("rsyslog imfile", setup, relp, _rsyslog(durable), _no_rsyslog),
            Shipper(
                "syslog-ng file",
                setup,
                "lines",
                _syslog_ng(durable),
                _no_syslog_ng,
                _LIBRARIES if _unpacked() else {},
            ),
        ]
    return peers
