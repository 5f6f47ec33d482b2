"""The service as a child: its output whole, its exit code and signals passed on."""

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tickbird.exec.child import Child, StartError
from tickbird.exec.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 100_000_000)


def python(code: str, spool: Spool, **more) -> Child:
    return Child([sys.executable, "-c", code], os.environ, spool, **more)


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_the_services(spool: Spool, code: int) -> None:
    child = python(f"raise SystemExit({code})", spool)
    child.start()
    assert child.wait(10) == code
    child.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_a_service_that_a_signal_ended_gives_128_and_its_number(spool: Spool, number: int) -> None:
    child = python("import time; time.sleep(60)", spool)
    child.start()
    assert child.poll() is None
    child.send_signal(number)
    assert child.wait(10) == 128 + number
    child.send_signal(number)
    child.close()


def test_a_megabyte_of_mixed_output_arrives_byte_for_byte(spool: Spool, tmp_path: Path) -> None:
    files = [os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY, 0o600) for name in ("out", "err")]
    code = (
        "import os, random\n"
        "random.seed(1)\n"
        "for _ in range(64):\n"
        "    for fd in (1, 2):\n"
        "        data = random.randbytes(8192)\n"
        "        while data: data = data[os.write(fd, data):]\n"
    )
    child = python(code, spool, tee=(files[0], files[1]))
    child.start()
    assert child.wait(20) == 0
    child.close()
    for name, stream in (("out", "stdout"), ("err", "stderr")):
        spooled = b"".join(p.read_bytes() for p in sorted(spool.folder.glob(f"{stream}-*.log")))
        assert len(spooled) == 64 * 8192
        shown = (tmp_path / name).read_bytes()
        assert hashlib.sha256(shown).digest() == hashlib.sha256(spooled).digest()
    assert (child.not_spooled, child.not_shown) == (0, 0)


def test_a_terminal_that_does_not_read_does_not_block_the_service(spool: Spool) -> None:
    reader, writer = os.pipe()
    code = "import os\nfor _ in range(320): os.write(1, b'x' * 65535 + b'\\n')"
    child = python(code, spool, tee=(writer, writer))
    child.start()
    assert child.wait(20) == 0
    child.close(0.2)
    assert child.not_shown > 0
    assert sum(path.stat().st_size for path in spool.folder.iterdir()) == 320 * 65536
    assert child.not_spooled == 0
    os.close(reader)
    wait_for(lambda: not any(one.name.startswith("tee-") for one in threading.enumerate()))
    os.close(writer)


def test_without_a_spool_the_output_still_passes_through() -> None:
    reader, writer = os.pipe()
    child = Child(["sh", "-c", "echo one; echo two >&2"], os.environ, None, (writer, writer))
    child.start()
    assert child.wait(10) == 0
    child.close()
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert sorted(file.read().split()) == [b"one", b"two"]


def test_a_grandchild_that_keeps_the_pipes_does_not_keep_us(spool: Spool) -> None:
    child = Child(["sh", "-c", "sleep 30 & echo $!"], os.environ, spool)
    child.start()
    assert child.wait(10) == 0
    began = time.monotonic()
    child.close()
    assert time.monotonic() - began < 5
    pid = int(next(spool.folder.glob("stdout-*")).read_text())
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [("no-such-program-here", 127, "command not found"), ("/", 126, "Permission denied")],
)
def test_a_command_that_cannot_run_is_one_clear_line(
    spool: Spool, command: str, code: int, said: str
) -> None:
    with pytest.raises(StartError, match=said) as caught:
        Child([command], os.environ, spool).start()
    assert caught.value.exit_code == code
