"""The data classes of the configuration; their names are the keys of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from ..paths import state_home
from .units import (
    Duration,
    Endpoint,
    File,
    Glob,
    Hidden,
    HttpStatus,
    Interval,
    Label,
    LineCount,
    Listen,
    ListenAt,
    Name,
    Pid,
    Port,
    Ratio,
    Regex,
    Salt,
    Size,
    TokenFile,
    Url,
)

MiB = 1024 * 1024


class ServiceConfig(Struct, frozen=True):
    """Defaults for the resource of every target."""

    namespace: Label | None = None
    environment: Label | None = None


class TlsConfig(Struct, frozen=True):
    """PEM files: ``ca`` to trust instead of the system's, ``cert`` and ``key`` to show."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None


class CollectorConfig(Struct, frozen=True):
    """Where telemetry goes, by OTLP/HTTP; ``endpoint`` has no slash at its end. ``retry_status``:
    statuses to be tried again that OTLP calls final."""

    endpoint: Endpoint
    headers: dict[str, Hidden] = field(default_factory=dict)
    tls: TlsConfig | None = None
    timeout: Duration = 10.0
    retry_status: tuple[HttpStatus, ...] = ()


class BackendsConfig(Struct, frozen=True):
    """Where ``verify`` looks for what it sent."""

    prometheus: Url | None = None
    loki: Url | None = None
    jaeger: Url | None = None
    alertmanager: Url | None = None
    grafana: Url | None = None


class ApiConfig(Struct, frozen=True):
    """The local page and JSON. ``token_file`` None: made in the state folder; ``none``: open."""

    listen: ListenAt = Listen("127.0.0.1", 8425)
    token_file: TokenFile | None = None


class IntakeConfig(Struct, frozen=True):
    otlp_http: ListenAt = Listen("127.0.0.1", 8426)


class MatchConfig(Struct, frozen=True):
    """How the processes of a target are found: exactly one of these."""

    pid: Pid | None = None
    pidfile: File | None = None
    command: Regex | None = None
    port: Port | None = None
    unit: Label | None = None
    container: Label | None = None


class HttpConfig(Struct, frozen=True):
    url: Url
    interval: Interval = 10.0


class ScrapeConfig(Struct, frozen=True):
    url: Url
    interval: Interval = 10.0


class LoopConfig(Struct, frozen=True):
    """``auto``: trace, else the probe of ``exec``; ``attach``: also a probe put into a Node that
    runs already."""

    method: Literal["auto", "trace", "probe", "attach", "estimated"] = "auto"
    stall_threshold: Duration = 0.1


class SloConfig(Struct, frozen=True):
    """``availability`` as a ratio; ``latency`` in seconds by quantile (p50, p90, p99 ...)."""

    availability: Ratio | None = None
    latency: dict[str, Duration] = field(default_factory=dict)


class TargetConfig(Struct, frozen=True):
    """One service. Without ``match``: only its logs, scrape and health address."""

    name: Name | None = None
    match: MatchConfig | None = None
    logs: tuple[Glob, ...] = ()
    http: HttpConfig | None = None
    scrape: ScrapeConfig | None = None
    loop: LoopConfig = LoopConfig()
    slo: SloConfig = field(default_factory=SloConfig)
    labels: dict[str, Label] = field(default_factory=dict)


class RateLimitConfig(Struct, frozen=True):
    """What a service may send; ``burst``: lines at once, ten seconds' worth where it is None."""

    lines_per_second: LineCount
    burst: LineCount | None = None

    @property
    def burst_lines(self) -> int:
        return self.burst or 10 * self.lines_per_second


class LogsConfig(Struct, frozen=True):
    """``mode`` raw: a record's body is its line, redacted, and what the line says stays in it, but
    for time, severity and ids."""

    start_at: Literal["beginning", "end"] = "beginning"
    compressed: bool = False
    format: Literal["auto", "json", "logfmt", "plain", "cri", "docker"] = "auto"
    multiline: Literal["auto", "none"] = "auto"
    correlate: bool = True
    rate_limit: RateLimitConfig | None = None
    mode: Literal["structured", "raw"] = "structured"


class RedactConfig(Struct, frozen=True):
    """``patterns``: RE2 patterns; among them, the word ``default`` stands for the shipped set and
    ``email`` for mail addresses. Written as one word in the file, ``default`` is that set alone and
    ``none`` is empty. ``mode`` hash: a secret becomes its HMAC under ``salt``, cut short, so that
    equal ones can be told."""

    patterns: tuple[Regex, ...] = ("default",)
    keys: tuple[Label, ...] = ()
    mode: Literal["mask", "hash"] = "mask"
    salt: Salt | None = None


class RecorderConfig(Struct, frozen=True):
    keep: Duration = 900.0
    memory: Size = 8 * MiB


class SpoolConfig(Struct, frozen=True):
    size: Size = 1024 * MiB


class BudgetConfig(Struct, frozen=True):
    """What the agent may cost: ``cpu`` as a share of one core, ``memory`` in bytes."""

    cpu: Ratio = 0.02
    memory: Size = 64 * MiB


class SamplingConfig(Struct, frozen=True):
    interval: Interval = 1.0
    export_interval: Interval = 10.0


class Config(Struct, frozen=True):
    """A whole configuration, checked."""

    instance: Name = "default"
    service: ServiceConfig = ServiceConfig()
    collector: CollectorConfig | None = None
    backends: BackendsConfig = BackendsConfig()
    state_dir: File = field(default_factory=state_home)
    api: ApiConfig = ApiConfig()
    intake: IntakeConfig = IntakeConfig()
    targets: tuple[TargetConfig, ...] = ()
    logs: LogsConfig = LogsConfig()
    redact: RedactConfig = RedactConfig()
    recorder: RecorderConfig = RecorderConfig()
    spool: SpoolConfig = SpoolConfig()
    budget: BudgetConfig = BudgetConfig()
    sampling: SamplingConfig = SamplingConfig()
    warnings: tuple[str, ...] = ()
    """Not a key of the file: one line for each key that has no effect in this version."""

    @property
    def folder(self) -> Path:
        """The state folder of this instance."""
        return self.state_dir / self.instance
