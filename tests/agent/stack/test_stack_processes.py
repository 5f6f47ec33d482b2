from __future__ import annotations

import os
import sys
from pathlib import Path

from backends import until
from tickbird.stack import processes
from tickbird.stack.processes import Process

PATIENT = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(600)"
)


def _start(code: str, folder: Path) -> Process:
    log = folder / "program.log"
    process = processes.start(
        [sys.executable, "-c", code], folder=folder, log=log, environment=os.environ
    )
    until(lambda: "up" in log.read_text())
    return process


def test_a_process_is_known_again_by_pid_and_start_time(tmp_path: Path) -> None:
    process = _start(PATIENT, tmp_path)
    try:
        again = Process(process.pid, process.started)
        assert again.alive()
        assert (again.memory() or 0) > 1_000_000
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        assert processes.stop([process], 10.0) == []
    assert not process.alive()


def test_a_reused_pid_is_not_taken_for_the_process_and_not_stopped(tmp_path: Path) -> None:
    process = _start(PATIENT, tmp_path)
    try:
        other = Process(process.pid, process.started - 3600)
        assert not other.alive()
        assert other.memory() is None
        assert processes.stop([other], 1.0) == []
        assert process.alive()
    finally:
        processes.stop([process], 10.0)


def test_one_that_ignores_the_polite_signal_is_killed_and_named(tmp_path: Path) -> None:
    process = _start(STUBBORN, tmp_path)
    assert processes.stop([process], 0.3) == [process]
    assert not process.alive()


def test_a_process_that_ended_is_not_alive_and_stopping_it_does_nothing(tmp_path: Path) -> None:
    process = _start("print('up', flush=True); input()", tmp_path)
    until(lambda: not process.alive())
    assert processes.stop([process], 1.0) == []


def test_the_log_is_appended_to_private_and_moved_aside_when_large(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    log.write_bytes(b"x" * (11 * 1024 * 1024))
    log.chmod(0o600)
    processes.stop([_start(PATIENT, tmp_path)], 10.0)
    assert (tmp_path / "program.log.1").stat().st_size == 11 * 1024 * 1024
    assert log.read_text() == "up\n"
    assert log.stat().st_mode & 0o777 == 0o600
