"""What a Python service may import: correlation IDs, request metrics, loop monitor, telemetry.

Each part works alone. Nothing of the agent is imported, and heavy libraries only where used::

    from tickbird.kit import AsgiMiddleware, add_correlation, setup

    telemetry = setup("checkout")            # traces and metrics over OTLP, by environment
    app.add_middleware(AsgiMiddleware)       # requests, spans, correlation IDs, loop monitor
"""

from .asgi import AsgiMiddleware
from .context import correlation_id
from .logs import add_correlation
from .loop import watch_loop
from .telemetry import Telemetry, setup
from .wsgi import WsgiMiddleware

__all__ = [
    "AsgiMiddleware",
    "Telemetry",
    "WsgiMiddleware",
    "add_correlation",
    "correlation_id",
    "setup",
    "watch_loop",
]
