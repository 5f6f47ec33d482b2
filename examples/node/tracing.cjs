'use strict';
// Traces by this service's own OpenTelemetry SDK, when the environment names where they go.
// HTTP metrics are not its business: the agent's probe counts requests.
const named =
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT || process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;

function start() {
  const { registerInstrumentations } = require('@opentelemetry/instrumentation');
  const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
  const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
  const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
  const { defaultResource, detectResources, envDetector } = require('@opentelemetry/resources');
  const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

  const resource = defaultResource().merge(detectResources({ detectors: [envDetector] }));
  const provider = new NodeTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  registerInstrumentations({
    instrumentations: [new HttpInstrumentation(), new ExpressInstrumentation()],
  });
  return provider;
}

const provider = named ? start() : null;

/** Send the spans that are left; never rejects, since a lost span must not spoil an exit. */
exports.stop = async () => {
  if (provider) await provider.shutdown().catch(() => {});
};
