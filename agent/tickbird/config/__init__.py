"""The configuration: plain, frozen, checked before anything runs.

``load(path)``, ``parse(text)`` and ``default()`` give a :class:`Config` whose fields carry the
names of the file's keys. Durations are float seconds, sizes int bytes, ratios floats 0..1.
"""

from __future__ import annotations

from .loader import NOT_YET, default, load, parse
from .schema import (
    ApiConfig,
    BackendsConfig,
    BudgetConfig,
    CollectorConfig,
    Config,
    HttpConfig,
    IntakeConfig,
    LogsConfig,
    LoopConfig,
    MatchConfig,
    RecorderConfig,
    RedactConfig,
    SamplingConfig,
    ScrapeConfig,
    ServiceConfig,
    SloConfig,
    SpoolConfig,
    TargetConfig,
    TlsConfig,
)
from .units import Listen, Secret

__all__ = [
    "NOT_YET",
    "ApiConfig",
    "BackendsConfig",
    "BudgetConfig",
    "CollectorConfig",
    "Config",
    "HttpConfig",
    "IntakeConfig",
    "Listen",
    "LogsConfig",
    "LoopConfig",
    "MatchConfig",
    "RecorderConfig",
    "RedactConfig",
    "SamplingConfig",
    "ScrapeConfig",
    "Secret",
    "ServiceConfig",
    "SloConfig",
    "SpoolConfig",
    "TargetConfig",
    "TlsConfig",
    "default",
    "load",
    "parse",
]
