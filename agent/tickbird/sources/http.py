"""Health probe: asks one URL and says whether, how fast and with which status class it answered.

Named as the Collector's httpcheck receiver names them, with seconds instead of milliseconds and
without the address as a label: a target has one probe. Each probe connects anew, so the time is
what a new client would wait. A probe that fails is a measurement, not a failure of this source:
``httpcheck.error`` is 1 and ``problems`` says why.
"""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..clock import Deadline
from ..errors import FetchError
from ..model import Instrument, Item, Kind, Sample, Target
from . import Context, SourceType

TIMEOUT = 5.0
"""Seconds at most for one probe; less when the interval is shorter."""

BODY = 1 << 20
"""Bytes of the answer that are read; what follows does not count into the time."""

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

DURATION = Instrument(
    "httpcheck.duration",
    Kind.GAUGE,
    "s",
    "Time from connecting to the end of the answer; absent when there was none.",
)
STATUS = Instrument(
    "httpcheck.status",
    Kind.UPDOWN,
    "1",
    "1 for the class of the last answer's status, 0 for the others (all 0: no answer).",
    ("http.status_class",),
)
ERROR = Instrument(
    "httpcheck.error", Kind.UPDOWN, "{error}", "1 when the last probe got no whole answer, else 0."
)
CERTIFICATE = Instrument(
    "httpcheck.tls.cert_remaining",
    Kind.GAUGE,
    "s",
    "Time until the server's certificate expires; negative once it has.",
)


class HttpProbe:
    """One URL of one target."""

    def __init__(self, url: str, interval: float, context: Context) -> None:
        """Raises SourceError for an address that is not http or https."""
        from ..fetching import Connection  # noqa: PLC0415 - an HTTP client, where one is configured

        self.interval = interval
        self.problems: tuple[str, ...] = ()
        """Why the last probe did not end well; fit to be shown."""
        self._url = url
        self._clock = context.clock
        self._connection = Connection(url)

    def read(self) -> list[Item]:
        deadline = Deadline(self._clock, min(self.interval, TIMEOUT))
        began = self._clock.monotonic()
        status: int | None = None
        try:
            answer = self._connection.get({"Connection": "close"}, deadline)
            size = 0
            for chunk in self._connection.body(answer):
                size += len(chunk)
                if size >= BODY:
                    break
            status = answer.status
            self.problems = () if status < 400 else (f"the health check answered {status}",)
        except FetchError as error:
            self.problems = (f"the health check failed: {error}",)
        found = _samples(status, self._clock.monotonic() - began)
        found += self._certificate(deadline)
        self._connection.close()
        return found

    def _certificate(self, deadline: Deadline) -> Iterator[Sample]:
        der = self._connection.certificate
        parts = urlsplit(self._url)
        if der is None and parts.scheme == "https" and parts.hostname:
            der = _unverified_certificate(parts.hostname, parts.port or 443, deadline)
        if der is None:
            return
        try:
            yield Sample(CERTIFICATE, expiry(der) - self._clock.time())
        except ValueError:
            self.problems += ("the server's certificate cannot be read",)

    def close(self) -> None:
        self._connection.close()


def _samples(status: int | None, seconds: float) -> list[Item]:
    found: list[Item] = [
        Sample(STATUS, float(status is not None and status // 100 == int(name[0])), (name,))
        for name in _CLASSES
    ]
    found.append(Sample(ERROR, float(status is None)))
    if status is not None:
        found.append(Sample(DURATION, seconds))
    return found


def _unverified_certificate(host: str, port: int, deadline: Deadline) -> bytes | None:
    """The certificate that verification refused: how long ago it expired is worth knowing.
    Nothing but the handshake is exchanged."""
    import ssl  # noqa: PLC0415 - came with the HTTP client

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=max(0.01, deadline.remaining())) as raw,
            context.wrap_socket(raw, server_hostname=host) as secured,
        ):
            return secured.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None


def expiry(der: bytes) -> float:
    """Unix time of notAfter of an X.509 certificate. Raises ValueError for anything else.

    RFC 5280: Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE { [0] version OPTIONAL,
    serial, algorithm, issuer, validity SEQUENCE { notBefore, notAfter }, … } … }
    """
    try:
        certificate = _elements(der)[0][1]
        fields = _elements(_elements(certificate)[0][1])
        if fields[0][0] == 0xA0:
            fields = fields[1:]
        tag, text = _elements(fields[3][1])[1]
    except IndexError as error:
        raise ValueError("no certificate") from error
    digits = text.decode("ascii")
    if tag == 0x17:  # UTCTime: two digits mean 1950 to 2049
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    elif tag != 0x18:
        raise ValueError("no time of expiry")
    time = datetime.datetime.strptime(digits, "%Y%m%d%H%M%SZ")
    return time.replace(tzinfo=datetime.UTC).timestamp()


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The DER elements in ``data``: tag and content, in order."""
    found, at = [], 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("cut off")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 0 < size <= 4:
                raise ValueError("bad length")
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def open_source(target: Target, context: Context) -> HttpProbe | None:
    """None without a configured URL, and for workers: their master's probe asks for all."""
    if context.spec is None or context.spec.http is None or target.ordinal is not None:
        return None
    return HttpProbe(context.spec.http.url, context.spec.http.interval, context)


SOURCE = SourceType(
    "http", (DURATION, STATUS, ERROR, CERTIFICATE), open_source, blocking=True, whole=True
)
