"""Tickbird: a sidecar that sees event loops from outside, and a stack that proves itself."""

__version__ = "0.1.0"
