"""The same job done with the OpenTelemetry SDK, as an application would: ``FILE HTTP-PORT``."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

_LEVELS = {20: "debug", 30: "info", 40: "warning", 50: "error"}
_NUMBERS = {"debug": 5, "info": 9, "warning": 13, "error": 17}


def main() -> None:
    path, port = sys.argv[1:]
    exporter = OTLPLogExporter(f"http://127.0.0.1:{port}/v1/logs", compression=Compression.Gzip)
    processor = BatchLogRecordProcessor(
        exporter, max_queue_size=20_000, max_export_batch_size=1000, schedule_delay_millis=200
    )
    provider = LoggerProvider(Resource({"service.name": "shop"}))
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("bench")
    emitted = 0
    with Path(path).open() as file:
        while True:
            line = file.readline()
            if not line.endswith("\n"):
                file.seek(file.tell() - len(line))
                time.sleep(0.1)
                continue
            logger.emit(record(json.loads(line)))
            emitted += 1
            if emitted % 5000 == 0:
                processor.force_flush()  # a full queue drops without a word


def record(fields: dict[str, object]) -> LogRecord:
    level = fields.pop("level")
    text = _LEVELS.get(level, str(level)) if isinstance(level, int) else str(level)
    trace, span = str(fields.pop("trace_id")), str(fields.pop("span_id"))
    context = SpanContext(int(trace, 16), int(span, 16), False, TraceFlags(1))
    when = fields.pop("time", None)
    if not isinstance(when, int):
        when = int(datetime.fromisoformat(str(fields.pop("timestamp"))).timestamp() * 1000)
    return LogRecord(
        timestamp=when * 1_000_000,
        observed_timestamp=time.time_ns(),
        context=set_span_in_context(NonRecordingSpan(context)),
        severity_number=SeverityNumber(_NUMBERS[text]),
        severity_text=text,
        body=fields.pop("msg", None) or fields.pop("event", None),
        attributes=fields,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    main()
