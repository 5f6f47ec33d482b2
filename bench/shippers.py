"""Log shippers side by side: each reads ``FOLDER/*.log`` and sends it to ``bench.sink``.

The peers are ordinary packages: of the machine where it has them, else unpacked into a cache of
their own and run from there with a private configuration. Nothing of the system is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tickbird.paths import cache_home
from tickbird.stack import build, recipes
from tickbird.stages.redact import names
from tickbird.stages.redact.rules import DEFAULTS

from . import stage

PEERS = cache_home() / "peers"
SCALYR = "scalyr-agent-2==2.2.8"


class NotToBeHad(Exception):
    """Why a peer cannot take part on this machine."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a shipper is started."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True, slots=True)
class Shipper:
    """``prepare`` writes the configuration for (folder, HTTP port, TCP port); it may raise
    ``NotToBeHad``. ``does`` says what it does with a line."""

    name: str
    does: str
    prepare: Callable[[Path, int, int], Command]


def tickbird(name: str, does: str, settings: str = "") -> Shipper:
    def prepare(folder: Path, http: int, _tcp: int) -> Command:
        path = folder / "tickbird.yaml"
        path.write_text(
            "instance: bench\napi: {listen: '127.0.0.1:0'}\nintake: {otlp_http: '127.0.0.1:0'}\n"
            f"collector: {{endpoint: 'http://127.0.0.1:{http}'}}\n"
            f"targets: [{{name: shop, logs: ['{folder}/*.log']}}]\n{settings}\n"
        )
        command = [sys.executable, "-m", "tickbird", "run", "-c", str(path)]
        return Command(command, stage.environment(folder))

    return Shipper(name, does, prepare)


def sdk(folder: Path, http: int, _tcp: int) -> Command:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "bench.sdk", str(folder / "app.log"), str(http)]
    return Command(command, environment)


def collector(folder: Path, http: int, _tcp: int) -> Command:
    path = folder / "collector.yaml"
    path.write_text(f"""
receivers:
  file_log:
    include: ['{folder}/*.log']
    start_at: beginning
    operators:
      - type: json_parser
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{http}
    sending_queue: {{batch: {{min_size: 500, max_size: 1000, sizer: items, flush_timeout: 1s}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    logs: {{receivers: [file_log], exporters: [otlp_http]}}
""")
    return Command([str(_built_collector()), "--config", str(path)])


def rsyslog(folder: Path, _http: int, tcp: int) -> Command:
    root = _debian("rsyslog", "usr/sbin/rsyslogd")
    path = folder / "rsyslog.conf"
    path.write_text(f"""
global(workDirectory="{folder}")
module(load="imfile" mode="inotify")
module(load="mmjsonparse")
template(name="json" type="list") {{ property(name="$!all-json-plain") constant(value="\\n") }}
input(type="imfile" File="{folder}/*.log" Tag="shop")
action(type="mmjsonparse" cookie="")
action(type="omfwd" target="127.0.0.1" port="{tcp}" protocol="tcp" template="json")
""")
    modules = next(root.glob("usr/lib/*/rsyslog"), Path("/usr/lib/rsyslog"))
    command = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(path), "-i", str(folder / "pid")]
    return Command([*command, "-M", str(modules)], _libraries(root))


def syslog_ng(folder: Path, _http: int, tcp: int) -> Command:
    root = _debian("syslog-ng-core", "usr/sbin/syslog-ng")
    path = folder / "syslog-ng.conf"
    path.write_text(f"""@version: 3.35
source files {{
  file("{folder}/app.log" flags(no-parse) follow-freq(0.25)
    log-fetch-limit(1000) log-iw-size(10000));
}};
parser json {{ json-parser(prefix(".json.")); }};
destination sink {{ network("127.0.0.1" port({tcp}) transport("tcp")
  template("$(format-json .json.*)\\n")); }};
log {{ source(files); parser(json); destination(sink); flags(flow-control); }};
""")
    modules = next(root.glob("usr/lib/syslog-ng/[0-9]*"))
    command = [str(root / "usr/sbin/syslog-ng"), "-F", "--no-caps", "-f", str(path)]
    command += ["-R", f"{folder}/persist", "-p", f"{folder}/pid", "-c", f"{folder}/control"]
    return Command([*command, f"--module-path={modules}"], _libraries(root))


def scalyr(rules: bool) -> Callable[[Path, int, int], Command]:
    def prepare(folder: Path, http: int, _tcp: int) -> Command:
        log: dict[str, object] = {"path": f"{folder}/app.log", "copy_from_start": True}
        if rules:
            log["redaction_rules"] = [
                {"match_expression": rule, "replacement": "[redacted]"} for rule in RULES
            ]
        settings = {
            "api_key": "none", "scalyr_server": f"http://127.0.0.1:{http}", "allow_http": True,
            "implicit_agent_log_collection": False, "implicit_metric_monitor": False,
            "implicit_agent_process_metrics_monitor": False, "monitors": [], "logs": [log],
            "agent_log_path": str(folder), "agent_data_path": str(folder / "data"),
            "server_attributes": {"serverHost": "bench"}, "compression_type": "deflate",
            "max_log_offset_size": 2**40, "max_existing_log_offset_size": 2**40,
            "max_allowed_request_size": 5_900_000, "pipeline_threshold": 0,
            "max_send_rate_enforcement": "unlimited",
            "disable_max_send_rate_enforcement_overrides": True,
            "min_request_spacing_interval": 0.1, "max_request_spacing_interval": 0.5,
        }  # fmt: skip
        (folder / "data").mkdir()
        (folder / "agent.json").write_text(json.dumps(settings))
        command = [str(_scalyr_python()), "-m", "scalyr_agent.agent_main", "start", "--no-fork"]
        return Command([*command, "--no-change-user", "-c", str(folder / "agent.json")])

    return prepare


RULES = (names.opening(()), *(rule.opening for rule in DEFAULTS))
"""What ours looks for, one expression a rule; check digits and whole values are left out."""


def _built_collector() -> Path:
    found = build.find(recipes.RECIPES["otelcol"])
    if found is None:
        raise NotToBeHad("the Collector is not built: tickbird stack up --native --build")
    return found.program


def _debian(package: str, program: str) -> Path:
    """A folder below which the package's files are."""
    if (Path("/") / program).exists():
        return Path("/")
    root = PEERS / package
    if not (root / program).exists():
        fresh = PEERS / f"{package}.fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "debs/partial").mkdir(parents=True)
        fetch = ["apt-get", "install", "-y", "--no-install-recommends", "--download-only"]
        _do([*fetch, "-o", f"Dir::Cache::Archives={fresh}/debs", package])
        for archive in sorted(fresh.glob("debs/*.deb")):
            _do(["dpkg-deb", "-x", str(archive), str(fresh)])
        shutil.rmtree(root, ignore_errors=True)
        fresh.rename(root)
    return root


def _libraries(root: Path) -> dict[str, str]:
    folders = {str(path.parent) for path in root.glob("**/*.so*")} if root != Path("/") else set()
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders))}


def _scalyr_python() -> Path:
    python = PEERS / SCALYR / "bin/python"
    if not (PEERS / SCALYR / "done").exists():
        venv.create(PEERS / SCALYR, with_pip=True, clear=True)
        _do([str(python), "-m", "pip", "install", "-q", SCALYR])
        (PEERS / SCALYR / "done").touch()
    return python


def _do(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except FileNotFoundError as error:
        raise NotToBeHad(f"this machine has no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines() or ["nothing"]
        raise NotToBeHad(f"{command[0]} says: {said[-1]}") from error
