"""The agent beside a service: what joins the two, and its start."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import TickbirdError
from ..net import datagrams, listen
from .place import Place

if TYPE_CHECKING:
    from ..config import Config
    from .sidecar import Sidecar

_INTAKE_PORT = 8426


class Link(NamedTuple):
    """What joins the service's probe and SDK to whichever agent runs."""

    probe: socket.socket
    intake: socket.socket
    token: str


def link(base: Config | None) -> Link:
    """Sockets and a token of one's own."""
    intake = listen(*(base.intake.otlp_http if base else ("127.0.0.1", _INTAKE_PORT)))
    return Link(datagrams(), intake, secrets.token_urlsafe(16))


def start_agent(
    config: Path | None,
    place: Place,
    pid: int | None,
    joined: Link,
    say: Callable[[str], None],
    *,
    offline: bool,
) -> Sidecar | None:
    """The service runs by now, so whatever is wrong here costs one line and nothing else. ``pid``
    is the service's, None where only its output is here."""
    try:
        # Costs more time than all before it, which the service has not waited for.
        from .document import document_for  # noqa: PLC0415
        from .sidecar import Sidecar  # noqa: PLC0415

        document = document_for(config, place.name, place.folder, pid, offline=offline)
        sidecar = Sidecar(
            document, place.folder, probe=joined.probe, intake=joined.intake, token=joined.token
        )
        sidecar.start()
    except (TickbirdError, OSError) as error:
        say(f"the service runs without its agent: {error}")
        return None
    return sidecar
