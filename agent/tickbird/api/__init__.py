"""The local API: the page, JSON and metrics on a loopback port and on the instance's socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from ..config import Config
from ..errors import CannotCreate
from ..net import address, answers, listen
from ..paths import runtime_home
from .routes import Routes
from .server import Server
from .tokens import read_or_create
from .view import AgentView

__all__ = ["Api", "socket_path"]

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Api:
    """Listens from the moment it is made; answers while the bodies of ``servers`` run.

    The Unix socket (0600) needs no token; the TCP port needs the one in ``folder`` unless the
    configuration opens it. Raises ``CannotCreate`` when nothing can be bound.
    """

    def __init__(self, config: Config, folder: Path, view: AgentView) -> None:
        token = _token(config, folder)
        wanted = config.api.listen
        tcp = listen(wanted.host, wanted.port)
        self.url = f"http://{address(tcp)}"
        self._token = token
        self.path = socket_path(config.instance)
        try:
            unix = _bind_unix(self.path)
        except BaseException:
            tcp.close()
            raise
        port = tcp.getsockname()[1]
        routes = Routes(
            view, token, LOCAL_NAMES | {wanted.host}, self.login_url, f"tickbird-{port}"
        )
        self._tcp = Server(tcp, routes.answer)
        self._unix = Server(unix, routes.answer, trusted=True)

    def login_url(self) -> str:
        """Address of the page, with the token in it where one is needed."""
        return f"{self.url}/?token={self._token}" if self._token else f"{self.url}/"

    def servers(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Names and bodies of the threads that answer."""
        yield "api", self._tcp.run
        yield "api-socket", self._unix.run

    def close(self) -> None:
        """Stop listening and remove the socket file; safe to call twice."""
        self._tcp.close()
        self._unix.close()
        self.path.unlink(missing_ok=True)


def socket_path(instance: str) -> Path:
    """Where the agent of this name listens."""
    return runtime_home() / f"{instance}.sock"


def _token(config: Config, folder: Path) -> str | None:
    where = config.api.token_file
    if where == "none":
        return None
    return read_or_create(folder / "token" if where is None else where)


def _bind_unix(path: Path) -> socket.socket:
    """A listening socket at ``path``, in the place of one that nobody answers on."""
    if answers(path):
        raise CannotCreate(
            f"another agent listens on {path}",
            "give this one a name of its own: instance in the configuration",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise CannotCreate(
            f"cannot listen on {path}: {error}",
            "set TICKBIRD_RUNTIME_DIR to a short path that is yours",
        ) from error
    return sock
