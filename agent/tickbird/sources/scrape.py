"""A service's own /metrics, in Prometheus or OpenMetrics text, passed on under its own names.

A scrape is taken whole or not at all; one that fails gives ``up`` 0 and says why in ``problems``.
Answers are bounded in time, in bytes after decompression, in series and in labels.
"""

from __future__ import annotations

from collections.abc import Iterator

from isal import isal_zlib

from ..clock import Deadline
from ..errors import FetchError, SourceError
from ..model import Instrument, Item, Kind, Sample, Target
from . import Context, SourceType, looplag
from .exposition import Bounds, Catalogue, Exposition, MalformedError, parse

TIMEOUT = 10.0
"""Seconds at most for one scrape; less when the interval is shorter."""

CHUNK = 64 * 1024
BODY = 16 << 20
"""Bytes of an answer, after decompression."""

RATIO = 100
"""Metrics text shrinks about tenfold; what shrinks more than this is a bomb."""

_RATIO_FREE = 1 << 20
_WHOLE_GZIP = 31  # zlib: window bits of a gzip wrapper
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # mistyped there
_HEADERS = {
    # the text format first: what libraries write as OpenMetrics is often not quite that
    "Accept": "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5",
    "Accept-Encoding": "gzip",
}

UP = Instrument("up", Kind.GAUGE, "", "1 when the last scrape succeeded, else 0.")
DURATION = Instrument("scrape.duration", Kind.GAUGE, "s", "Time the last scrape took.")
TAKEN = Instrument("scrape.samples_scraped", Kind.GAUGE, "", "Series in the last scrape.")
LEFT_OUT = Instrument(
    "scrape.series.left_out",
    Kind.COUNTER,
    "{series}",
    "Series that scrapes left out because there were too many or their labels too long.",
)
_OWN = {"target_info", *(one.name for one in (UP, DURATION, TAKEN, LEFT_OUT))}
"""Not for a service to say: each target has one ``target_info``, made from its attributes, and a
second one breaks every query that joins with it."""


class ScrapeSource:
    """One URL of one target."""

    def __init__(
        self, url: str, interval: float, context: Context, bounds: Bounds | None = None
    ) -> None:
        """Raises SourceError for an address that is not http or https."""
        from ..fetching import Connection  # noqa: PLC0415 - an HTTP client, where one is configured

        self.interval = interval
        self.problems: tuple[str, ...] = ()
        """Why the last scrape failed, or what it left out; fit to be shown."""
        self._clock = context.clock
        self._bounds = bounds or Bounds()
        self._connection = Connection(url)
        self._catalogue = Catalogue()
        self._left_out = 0
        self._lag = looplag.LagScale("scrape", interval)

    def read(self) -> list[Item]:
        began = self._clock.monotonic()
        found: Exposition | None = None
        try:
            found = self._scrape(Deadline(self._clock, min(self.interval, TIMEOUT)))
            self.problems = tuple(
                f"the scrape of {self._connection.origin} left out {count} series: {reason}"
                for reason, count in found.left_out.items()
            )
            self._left_out += sum(found.left_out.values())
        except SourceError as error:
            self._connection.close()
            self.problems = (f"the scrape failed: {error}",)
        items: list[Item] = [
            Sample(UP, float(found is not None)),
            Sample(DURATION, self._clock.monotonic() - began),
            Sample(LEFT_OUT, self._left_out),
        ]
        if found is not None:
            items.append(Sample(TAKEN, found.taken))
            items += self._of_service(found.samples)
        return items

    def _of_service(self, samples: list[Sample]) -> list[Item]:
        """What the service says, its loop's delay on the scale of all."""
        told = [one for one in samples if one.instrument.name not in _OWN]
        window = self._lag.window(looplag.told_by(samples), self._clock.time())
        if window is None:
            return [*told]
        return [window, *(one for one in told if not looplag.is_ours(one))]

    def _scrape(self, deadline: Deadline) -> Exposition:
        answer = self._connection.get(_HEADERS, deadline)
        origin = self._connection.origin
        if answer.status != 200:
            hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise SourceError(f"{origin} answered {answer.status}{hint}")
        kind = answer.headers.get("Content-Type", "text/plain").partition(";")[0].strip().lower()
        if kind not in ("text/plain", "application/openmetrics-text"):
            raise SourceError(
                f"{origin} answered {kind[:60] or 'no type'} instead of metrics",
                "check the path of the scrape URL",
            )
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        chunks = self._connection.body(answer)
        try:
            body = whole(chunks, encoding)
            return parse(body, kind != "text/plain", self._bounds, self._catalogue)
        except MalformedError as error:
            raise SourceError(f"the answer of {origin} {error}") from error

    def close(self) -> None:
        self._connection.close()


def whole(chunks: Iterator[bytes], encoding: str, limit: int = BODY) -> bytes:
    """All of ``chunks`` after decompression. Raises MalformedError beyond ``limit`` bytes, for an
    encoding that was not asked for, and for what shrank as no text does."""
    if encoding == "gzip":
        chunks = _inflated(chunks)
    elif encoding not in ("identity", ""):
        raise MalformedError(f"is encoded as {encoding[:40]!r}, which was not asked for")
    found, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise MalformedError(f"is larger than {limit >> 20} MiB")
        found.append(chunk)
    return b"".join(found)


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflate, taken, given = isal_zlib.decompressobj(wbits=_WHOLE_GZIP), 0, 0
    for chunk in chunks:
        if inflate.eof:
            raise MalformedError("goes on after the end of its gzip")
        taken += len(chunk)
        data, more = chunk, True
        while more and not inflate.eof:
            try:
                out = inflate.decompress(data, CHUNK)
            except _GZIP_ERROR as error:
                raise MalformedError("is not valid gzip") from error
            given += len(out)
            if given > _RATIO_FREE and given > RATIO * taken:
                raise MalformedError("is a compression bomb")
            yield out
            data = inflate.unconsumed_tail
            more = bool(data) or len(out) == CHUNK
    if inflate.unused_data:
        raise MalformedError("goes on after the end of its gzip")
    if not inflate.eof:
        raise FetchError("the compressed answer breaks off", "protocol")


def open_source(target: Target, context: Context) -> ScrapeSource | None:
    """None without a configured URL, and for workers: their master's scrape stands for all."""
    if context.spec is None or context.spec.scrape is None or target.ordinal is not None:
        return None
    return ScrapeSource(context.spec.scrape.url, context.spec.scrape.interval, context)


SOURCE = SourceType(
    "scrape", (UP, DURATION, TAKEN, LEFT_OUT), open_source, blocking=True, whole=True
)
