import datetime
import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.errors import SourceError
from tickbird.sources.http import HttpProbe, expiry, open_source
from tickbird.testing import context, target

DAY = 86400


class Handler(BaseHTTPRequestHandler):
    status, delay, location = 200, 0.0, None
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        time.sleep(self.delay)
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def serve():
    """Start a server of a handler class of its own, by TLS when given a context."""
    running = []

    def start(tls: ssl.SSLContext | None = None, **settings):
        handler = type("Told", (Handler,), settings)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.handle_error = lambda *_: None  # a refused handshake is what some tests are about
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        scheme = "https" if tls else "http"
        return f"{scheme}://localhost:{server.server_port}/healthz", handler

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def probed(url: str, interval: float = 2.0):
    probe = HttpProbe(url, interval, context())
    items = probe.read()
    probe.close()
    probe.close()
    return {(one.instrument.name, *one.labels): one.value for one in items}, probe.problems


def classes(found) -> dict[str, float]:
    return {key[1]: value for key, value in found.items() if key[0] == "httpcheck.status"}


def test_an_answer_has_a_class_a_time_and_no_error(serve):
    url, _ = serve(delay=0.15)
    found, problems = probed(url)
    assert classes(found) == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0}
    assert 0.15 <= found["httpcheck.duration",] < 1
    assert found["httpcheck.error",] == 0
    assert problems == ()
    assert ("httpcheck.tls.cert_remaining",) not in found


def test_a_server_error_is_an_answer_and_is_named(serve):
    url, _ = serve(status=503)
    found, problems = probed(url)
    assert classes(found)["5xx"] == 1
    assert found["httpcheck.error",] == 0
    assert problems == ("the health check answered 503",)


def test_a_redirect_is_not_followed(serve):
    other, elsewhere = serve()
    url, _ = serve(status=302, location=other)
    found, _ = probed(url)
    assert classes(found)["3xx"] == 1
    assert elsewhere.asked == 0


def test_an_answer_that_takes_too_long_is_an_error_at_the_deadline(serve):
    url, _ = serve(delay=2.0)
    began = time.monotonic()
    found, problems = probed(url, interval=0.4)
    assert time.monotonic() - began < 1.0
    assert found["httpcheck.error",] == 1
    assert set(classes(found).values()) == {0}
    assert ("httpcheck.duration",) not in found
    assert "in time" in problems[0]


def test_nobody_there_is_an_error_that_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    found, problems = probed(url)
    assert found["httpcheck.error",] == 1
    assert "connection refused" in problems[0]


def test_what_does_not_speak_http_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            client.sendall(b"220 mail.example ESMTP\r\n")
            client.close()

        thread = threading.Thread(target=greet)
        thread.start()
        found, problems = probed(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert found["httpcheck.error",] == 1
    assert problems


def test_each_probe_connects_anew(serve):
    url, handler = serve()
    handler.protocol_version = "HTTP/1.1"
    probe = HttpProbe(url, 1.0, context())
    for _ in range(2):
        assert any(one.instrument.name == "httpcheck.duration" for one in probe.read())
    probe.close()
    assert handler.asked == 2


# ---- certificates ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost that expires in 30 days."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def tls(certificate):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return made


def test_the_days_left_of_a_trusted_certificate(serve, tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    url, _ = serve(tls)
    found, problems = probed(url)
    assert problems == ()
    assert classes(found)["2xx"] == 1
    assert found["httpcheck.tls.cert_remaining",] == pytest.approx(30 * DAY, abs=DAY)


def test_a_refused_certificate_is_an_error_and_still_says_when_it_expires(serve, tls):
    url, handler = serve(tls)
    found, problems = probed(url)
    assert found["httpcheck.error",] == 1
    assert "certificate is refused" in problems[0]
    assert found["httpcheck.tls.cert_remaining",] == pytest.approx(30 * DAY, abs=DAY)
    assert handler.asked == 0


def element(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes([tag, len(data)]) + data


def made_certificate(not_after: bytes) -> bytes:
    validity = element(0x30, element(0x17, b"200101000000Z"), not_after)
    version = element(0xA0, element(2, b"\2"))
    fields = (version, element(2, b"\1"), element(0x30), element(0x30), validity)
    return element(0x30, element(0x30, *fields))


@pytest.mark.parametrize(
    ("not_after", "date"),
    [
        (element(0x17, b"280229120000Z"), (2028, 2, 29, 12)),
        (element(0x17, b"990101000000Z"), (1999, 1, 1, 0)),
        (element(0x18, b"20560101000000Z"), (2056, 1, 1, 0)),
    ],
)
def test_both_forms_of_time_in_a_certificate(not_after, date):
    expected = datetime.datetime(*date, tzinfo=datetime.UTC).timestamp()
    assert expiry(made_certificate(not_after)) == expected


@given(st.binary(max_size=100))
def test_any_other_bytes_are_no_certificate(data):
    with pytest.raises(ValueError):
        expiry(data)


# ---- opening --------------------------------------------------------------------------------


def test_the_probe_is_opened_where_configured_and_once_for_all_workers():
    text = "targets: [{name: x, http: {url: 'http://127.0.0.1:1/', interval: 3s}}]"
    opened = open_source(target(), context(text))
    assert opened is not None
    assert opened.interval == 3
    assert open_source(target(ordinal=0), context(text)) is None
    assert open_source(target(), context()) is None


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://x:99999/", "x"])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(SourceError):
        HttpProbe(url, 1.0, context())
