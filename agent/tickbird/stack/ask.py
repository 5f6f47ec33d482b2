"""Questions to backends over HTTP. Every wait is bounded; no proxy is used, since backends of a
stack are on this machine or on a network that is named explicitly."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from ..errors import Unreachable

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_LIMIT = 16 * 1024 * 1024


def text(
    url: str,
    query: Mapping[str, str] | None = None,
    *,
    body: bytes | None = None,
    timeout: float = 5.0,
) -> str:
    """Body of a 2xx answer to GET (POST of JSON with ``body``); Unreachable otherwise, its message
    naming the address and the reason."""
    address = f"{url}?{urllib.parse.urlencode(query)}" if query else url
    request = urllib.request.Request(address, data=body)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    where = urllib.parse.urlsplit(url).netloc
    try:
        with _OPENER.open(request, timeout=timeout) as answer:
            content: bytes = answer.read(_LIMIT)
            return content.decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        said = error.read(300).decode("utf-8", "replace").strip()
        raise Unreachable(f"{where} answers {error.code}: {said or error.reason}") from error
    except urllib.error.URLError as error:
        raise Unreachable(f"{where} does not answer: {error.reason}") from error
    except TimeoutError as error:
        raise Unreachable(
            f"{where} takes connections but did not answer in {timeout:g} s"
        ) from error
    except (OSError, ValueError) as error:
        raise Unreachable(f"{where} does not answer: {error}") from error


def document(
    url: str, query: Mapping[str, str] | None = None, *, timeout: float = 5.0
) -> dict[str, Any]:
    """The JSON object that ``url`` answers with; Unreachable when it is none."""
    said = text(url, query, timeout=timeout)
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        where = urllib.parse.urlsplit(url).netloc
        raise Unreachable(f"{where} answers, but not with a JSON object")
    return answer
