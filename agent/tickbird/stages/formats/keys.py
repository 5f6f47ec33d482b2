"""Under which keys the usual loggers write what every record has, in order of preference.

One table for all of them, since their keys do not contradict each other, and services change
loggers, rename keys and mix libraries in one file.
"""

from __future__ import annotations

MESSAGE = (
    "msg",  # pino, bunyan, logrus, zap
    "message",  # winston, python-json-logger, ECS
    "event",  # structlog
    "@message", "@m", "short_message",  # Logstash, Serilog, GELF
)  # fmt: skip

LEVEL = (
    "level",  # pino, bunyan, winston, structlog
    "severity",  # Google Cloud
    "levelname",  # python-json-logger
    "lvl", "log.level", "loglevel", "log_level", "@l", "severity_text",
)  # fmt: skip

PYTHON_LEVEL = ("levelno", "level_number")
"""Numbers of Python's logging: 20 is info there, and debug in pino."""

TIME = (
    "time",  # pino, bunyan
    "timestamp",  # winston, structlog
    "@timestamp",  # Logstash, ECS
    "ts",  # zap
    "asctime",  # python-json-logger
    "datetime", "date", "@t",
)  # fmt: skip

STACK = (
    "err.stack",  # pino, bunyan
    "error.stack", "error.stack_trace", "stack",  # winston
    "exc_info",  # python-json-logger
    "exception",  # structlog
    "exception.stacktrace", "stack_info", "stack_trace", "stacktrace", "@x",
)  # fmt: skip
