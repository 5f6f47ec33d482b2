"""OTLP/HTTP to the Collector: one encoder per signal, one lane per signal, one connection each."""
