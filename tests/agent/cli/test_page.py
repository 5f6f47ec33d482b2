"""``tickbird page``: the printed address works."""

from __future__ import annotations

import http.client
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from running import tickbird

pytestmark = pytest.mark.e2e


def test_the_printed_address_opens_the_page_and_its_data(shop: Path) -> None:
    done = tickbird(shop, "page")
    assert done.returncode == 0
    url = urlsplit(done.stdout.strip())
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("GET", f"{url.path}?{url.query}")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 302
    cookie = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
    for path in (answer.headers["Location"], "/static/page.js", "/api/v1/health?since=5m"):
        connection.request("GET", path, headers=cookie)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()


def test_the_browser_is_given_the_token_in_a_private_file_not_in_its_arguments(
    shop: Path, tmp_path: Path
) -> None:
    said = tmp_path / "arguments"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    browser.chmod(0o700)
    url = tickbird(shop, "page", DISPLAY=":0", BROWSER=str(browser)).stdout.strip()
    door = Path(urlsplit(said.read_text().strip()).path)
    assert urlsplit(url).query not in said.read_text()
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    assert url in door.read_text()


def test_metrics_of_a_real_agent_name_every_family_once(shop: Path) -> None:
    url = urlsplit(tickbird(shop, "page").stdout.strip())
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert {"process_memory_usage_bytes", "tickbird_agent_cpu_time_seconds_total"} <= set(types)


def test_without_an_agent_it_says_how_to_start_one(runtime: Path) -> None:
    assert tickbird(runtime, "page").returncode == 69
