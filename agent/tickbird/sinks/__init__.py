"""Sinks: where what was seen goes to. Each takes model types and knows one protocol."""
