"""A small shop that goes wrong in ways that a seed draws. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from faults import ROUTES, Faults
from truth import Measured, Truth

from tickbird.kit import AsgiMiddleware, add_correlation, setup

EXIT_SECONDS = 2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("TICKBIRD_SEED", "1")))
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    return parser.parse_args()


def log_to_stdout(truth: Truth) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_correlation,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            truth.count_line,
        ],
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def shop(truth: Truth, faults: Faults) -> Any:
    """The application, as ASGI."""
    log = structlog.get_logger()
    # FastAPI's own telemetry would count and trace every request a second time.
    app = FastAPI(
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )

    def handler(route: str) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def handle(request: Request) -> dict[str, Any]:
            await asyncio.sleep(faults.delay(route))
            if faults.fails(route):
                raise HTTPException(500, "the backend said no")
            return {"route": route, **request.path_params}

        return handle

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    for route in ROUTES:
        app.add_api_route(route, handler(route), methods=["GET", "POST"])

    @app.middleware("http")
    async def log_request(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await answer(request)
        write = log.error if response.status_code >= 500 else log.info
        write("request", method=request.method, path=request.url.path, status=response.status_code)
        return response

    app.add_middleware(AsgiMiddleware)
    return Measured(app, truth)


async def serve(options: argparse.Namespace, truth: Truth, faults: Faults) -> None:
    listener = socket.create_server(("127.0.0.1", options.port))
    truth.port = listener.getsockname()[1]
    truth.drawn = faults.drawn
    faults.start()
    keeper = asyncio.create_task(truth.keep())
    config = uvicorn.Config(
        shop(truth, faults),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=EXIT_SECONDS,
    )
    structlog.get_logger().info("listening", port=truth.port, seed=options.seed)
    await uvicorn.Server(config).serve(sockets=[listener])
    keeper.cancel()


def main() -> None:
    options = arguments()
    truth = Truth(options.truth, options.seed)
    log_to_stdout(truth)
    named = "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ
    telemetry = setup("sample-python") if named else None
    # uvicorn raises the signal again when it has shut down; an orderly end is exit code 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    run = asyncio.run
    if options.loop == "uvloop":
        import uvloop  # noqa: PLC0415 - an option that need not be installed

        run = uvloop.run
    run(serve(options, truth, Faults(options.seed, truth)))
    if telemetry:
        telemetry.shutdown(seconds=0.5)
    structlog.get_logger().info("stopped")
    truth.write()


if __name__ == "__main__":
    main()
