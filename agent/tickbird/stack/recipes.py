"""How each backend is got: its version, its sources, how to know a fit program on PATH."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..paths import bundle

FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w")
"""Flags of every build; with CGO_ENABLED=0 the result also runs in an image with nothing else."""

BUILDER = "go.opentelemetry.io/collector/cmd/builder"
"""Built from compose/native/builder; generates the main package of the slim Collector from
collector-config/builder.yaml."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One backend's programs and where they come from.

    ``packages`` maps program → Go package (empty for the Collector, whose main package is
    generated). ``minutes`` and ``megabytes`` are those of a cold build on two cores.
    ``version_command`` and ``version_pattern`` read the version of a program found on PATH; an
    empty version (a build from source) is accepted, a version below ``floor`` is not.
    """

    name: str
    title: str
    version: str
    packages: dict[str, str]
    minutes: float
    megabytes: int
    floor: tuple[int, int]
    names: tuple[str, ...]
    version_command: tuple[str, ...]
    version_pattern: str
    must_offer: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return bundle() / "compose" / "native" / self.name

    @property
    def builder(self) -> Path:
        """The module of what generates the Collector's main package."""
        return self.folder.with_name("builder")

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(self.packages) or (self.name,)

    def sources(self) -> list[Path]:
        """The files that decide what is built."""
        files = [self.folder / "go.mod", self.folder / "go.sum"]
        if not self.packages:
            files += [self.builder / "go.mod", self.builder / "go.sum"]
            files.append(bundle() / "collector-config" / "builder.yaml")
        return files

    def digest(self) -> str:
        """Hash of sources, packages and flags: the name of the cache folder."""
        total = hashlib.sha256(repr((FLAGS, sorted(self.packages.items()))).encode())
        for path in self.sources():
            total.update(path.name.encode() + b"\0" + path.read_bytes())
        return total.hexdigest()[:16]


_GIT_VERSION = r'"gitVersion":"v?(\d+\.\d+[^"]*|)"'

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="otelcol",
            title="OpenTelemetry Collector",
            version="0.158.0",
            packages={},
            minutes=6,
            megabytes=174,
            floor=(0, 158),
            names=("otelcol", "otelcol-contrib"),
            version_command=("components",),
            version_pattern=r"command: .*\n(?:.*\n)??\s+version: \"?v?(\d+\.\d+[^\s\"]*|)",
            must_offer=("span_metrics", "service_graph", "file_storage", "memory_limiter"),
        ),
        Recipe(
            name="prometheus",
            title="Prometheus",
            version="3.14.0",
            packages={
                "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
                "promtool": "github.com/prometheus/prometheus/cmd/promtool",
            },
            minutes=6.5,
            megabytes=184,
            floor=(3, 14),
            names=("prometheus",),
            version_command=("--version",),
            version_pattern=r"^prom\w+, version (\d+\.\d+\S*|)",
        ),
        Recipe(
            name="alertmanager",
            title="Alertmanager",
            version="0.28.1",
            packages={"alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager"},
            minutes=1,
            megabytes=42,
            floor=(0, 27),
            names=("alertmanager",),
            version_command=("--version",),
            version_pattern=r"^alertmanager, version (\d+\.\d+\S*|)",
        ),
        Recipe(
            name="loki",
            title="Loki",
            version="3.7.7",
            packages={"loki": "github.com/grafana/loki/v3/cmd/loki"},
            minutes=8,
            megabytes=157,
            floor=(3, 5),
            names=("loki",),
            version_command=("--version",),
            version_pattern=r"^loki, version (\d+\.\d+\S*|)",
        ),
        Recipe(
            name="jaeger",
            title="Jaeger",
            version="2.13.0",
            packages={"jaeger": "github.com/jaegertracing/jaeger/cmd/jaeger"},
            minutes=4,
            megabytes=85,
            floor=(2, 10),
            names=("jaeger",),
            version_command=("version",),
            version_pattern=_GIT_VERSION,
        ),
    )
}
