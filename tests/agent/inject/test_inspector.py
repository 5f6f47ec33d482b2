import re
import socket
import subprocess
import threading

import pytest

from tickbird.inject.inspector import Inspector, InspectorError

pytestmark = pytest.mark.node


@pytest.fixture
def port(node):
    command = [node, "--inspect=127.0.0.1:0", "-e", "setInterval(() => {}, 1000)"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        yield int(re.search(r":(\d+)/", process.stderr.readline())[1])
        process.kill()


def test_it_says_its_version_and_evaluates(node, port):
    with Inspector(port, 10) as inspector:
        version = subprocess.check_output([node, "-p", "process.versions.node"], text=True).strip()
        assert inspector.version() == version
        assert inspector.evaluate("1 + 1") == 2
    with Inspector(port, 10) as again:
        assert again.evaluate("typeof require") == "function"


@pytest.mark.parametrize("size", [10, 200, 70_000, 300_000])
def test_long_questions_and_long_answers_pass_whole(port, size):
    with Inspector(port, 10) as inspector:
        assert inspector.evaluate(f"'{'x' * size}' + 'é'") == "x" * size + "é"


def test_what_the_expression_throws_is_said(port):
    with Inspector(port, 10) as inspector, pytest.raises(InspectorError, match="of its own"):
        inspector.evaluate("(() => { throw new Error('of its own'); })()")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        None,
    ],
)
def test_what_is_no_inspector_is_an_error_and_no_endless_wait(answer):
    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            if answer is None:
                over.wait(10)
            else:
                connection.sendall(answer)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(InspectorError):
            Inspector(listener.getsockname()[1], 0.3).version()
        over.set()
        thread.join()


def test_nobody_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InspectorError, match=str(port)):
        Inspector(port, 1).version()
