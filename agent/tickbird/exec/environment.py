"""What a service finds in its environment, so that it reports without a change of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_RUNTIMES = Path(__file__).parents[1] / "runtimes"


def instrumented(
    environ: Mapping[str, str], *, name: str, probe: str, token: str, intake: str, stall: float
) -> dict[str, str]:
    """``environ`` with the probes for Node and Python added. ``probe`` and ``intake`` are
    ``host:port``, ``stall`` is in seconds. What the user has set himself stays: options are added
    to, and OpenTelemetry's own variables only fill gaps."""
    require = f"--require={_quoted(_RUNTIMES / 'node' / 'probe.cjs')}"
    added = {
        "NODE_OPTIONS": f"{environ.get('NODE_OPTIONS', '')} {require}".strip(),
        "PYTHONPATH": _first_on_path(_RUNTIMES / "python", environ.get("PYTHONPATH", "")),
        "TICKBIRD_PROBE": probe,
        "TICKBIRD_PROBE_TOKEN": token,
        "TICKBIRD_STALL_SECONDS": f"{stall:g}",
    }
    defaults = {
        "PYTHONUNBUFFERED": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{intake}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": name,
    }
    if _sends_elsewhere(environ):
        del defaults["OTEL_EXPORTER_OTLP_ENDPOINT"], defaults["OTEL_EXPORTER_OTLP_PROTOCOL"]
    return {**defaults, **environ, **added}


def _sends_elsewhere(environ: Mapping[str, str]) -> bool:
    """The user has named an address of his own, or gRPC, which the intake does not speak."""
    ours = ((k, v) for k, v in environ.items() if k.startswith("OTEL_EXPORTER_OTLP_"))
    return any(k.endswith("ENDPOINT") or (k.endswith("PROTOCOL") and v == "grpc") for k, v in ours)


def _quoted(path: Path) -> str:
    """As Node reads NODE_OPTIONS: words part at spaces, except within double quotes, where a
    backslash takes the next character as it is."""
    text = str(path)
    if not any(c in text for c in ' "\\'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _first_on_path(folder: Path, others: str) -> str:
    return os.pathsep.join([str(folder), *filter(None, [others])])
