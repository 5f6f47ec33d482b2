"""The configuration of the agent beside one service: the user's own, with that one target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config.document import raw
from ..config.loader import read


def document_for(
    base: Path | None, name: str, folder: Path, pid: int | None, *, offline: bool = False
) -> dict[str, Any]:
    """As plain data, references to secrets unresolved. The target of ``base`` with that name
    gives its SLO, labels, addresses and further logs; ``folder`` is the instance's state folder.
    Without a ``pid`` it is found as that target says, or is its logs only."""
    document: dict[str, Any] = raw(read(base), base.name) if base else {}
    targets = document.get("targets") or []
    own = next((one for one in targets if one.get("name") == name), None)
    if own is None:
        own = targets[0] if len(targets) == 1 and not targets[0].get("name") else {}
    document["targets"] = [
        {
            **own,
            "name": name,
            **({} if pid is None else {"match": {"pid": pid}}),
            "logs": [*(own.get("logs") or []), f"{folder / 'spool' / name}/*.log"],
        }
    ]
    document["instance"] = folder.name
    document["state_dir"] = str(folder.parent)
    if offline:
        document.pop("collector", None)
    return document
