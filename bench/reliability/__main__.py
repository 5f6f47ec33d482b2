"""The processes of the bench: ``cell SHIPPER/SETUP SEED PROFILE`` runs one cell and prints its
result, both as JSON; ``sink PROTOCOL PORT FILE`` is what it delivers to."""

from __future__ import annotations

import json
import sys

import msgspec

from . import cell, sink
from .shippers import shippers


def run_cell(name: str, seed: str, profile: str) -> None:
    (shipper,) = [one for one in shippers() if f"{one.name}/{one.setup}" == name]
    result = cell.run(shipper, cell.Profile(**json.loads(profile)), int(seed))
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    {"cell": run_cell, "sink": sink.main}[what](*words)
