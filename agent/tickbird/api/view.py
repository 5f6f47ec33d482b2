"""What the API may ask of the agent, and nothing else: it reads, it changes nothing."""

from __future__ import annotations

from typing import Any, Protocol


class AgentView(Protocol):
    """Every method may be called from any thread, at any time between open and close."""

    @property
    def instance(self) -> str: ...

    def status(self) -> dict[str, Any]:
        """What runs: targets, sources, delivery; fit for JSON."""

    def report(self, since: float, target: str | None) -> dict[str, Any]:
        """The document of docs/json.md over the last ``since`` seconds."""

    def metrics(self, own_only: bool) -> bytes:
        """Prometheus text format: of the agent itself, or of everything."""

    def ready(self) -> tuple[bool, str]:
        """Whether it does its work, and one line that says why not."""
