"""Targets: which processes are watched, found by what the configuration says or by themselves."""

from __future__ import annotations

from .automatic import Left
from .finder import Finder, Found

__all__ = ["Finder", "Found", "Left"]
