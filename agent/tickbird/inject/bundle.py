"""The files that run inside a Node target as one expression: an inspector takes text, and a target
in a container sees no file of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_RUNTIMES = Path(__file__).parents[1] / "runtimes"
_NAMES = ("attach", "culprit", "fine", "http", "loop", "report", "watchdog")

# `textFor` is how a file starts another as the program of a thread.
_LOADER = """
function tickbird(builtin, entry) {
  'use strict';
  const files = {
%s
  };
  const loaded = new Map();
  function load(path) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const file = files[name];
    if (file === undefined) return builtin(path);
    if (!loaded.has(name)) {
      const module = { exports: {} };
      loaded.set(name, module);
      file(module, load);
    }
    return loaded.get(name).exports;
  }
  load.textFor = (path) => `(${tickbird})(require, ${JSON.stringify(path)})`;
  return load(entry);
}
"""


def expression(settings: dict[str, Any]) -> str:
    """JavaScript that starts the probe and says what came of it; needs ``require``."""
    return f"({_text().strip()})(require, './attach.cjs')({json.dumps(settings)})"


def _text() -> str:
    parts = [_as_module(f"{name}.cjs", _read(f"node/{name}.cjs")) for name in _NAMES]
    parts.append(_as_module("bounds.json", f"module.exports = {_read('bounds.json').strip()};\n"))
    return _LOADER % "".join(parts)


def _as_module(name: str, text: str) -> str:
    return f"{json.dumps(name)}(module, require) {{\n{text}}},\n"


def _read(name: str) -> str:
    return (_RUNTIMES / name).read_text(encoding="utf-8")
