import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import NOT_ON_THIS_HOST
from injecting import until
from tickbird.inject import libuv
from tickbird.inject.elf import Elf

pytestmark = pytest.mark.node

SERVICE = """
const handler = () => {};
%s
require('net').createServer().listen(0, '127.0.0.1', () => console.log('up'));
"""


def handled(node, script):
    with subprocess.Popen([node, "-e", SERVICE % script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert libuv.is_node(process.pid)
            return libuv.handled_signals(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("script", "signals"),
    [
        ("", set()),
        ("process.on('SIGUSR1', handler);", {signal.SIGUSR1}),
        ("process.on('SIGUSR2', handler); process.on('SIGTERM', handler);",
         {signal.SIGUSR2, signal.SIGTERM}),
        ("process.on('SIGUSR1', handler); process.off('SIGUSR1', handler);", set()),
        ("for (let i = 0; i < 500; i++) setInterval(handler, 1);"
         "for (let i = 0; i < 50; i++) require('dgram').createSocket('udp4').bind(0);"
         "process.on('SIGUSR1', handler);", {signal.SIGUSR1}),
    ],
)  # fmt: skip
def test_the_signals_that_a_program_handles_itself_are_seen(node, script, signals):
    assert handled(node, script) == signals


def test_they_are_found_without_a_symbol_table_too(node):
    elf = Elf(Path(shutil.which(node)).resolve())
    if os.uname().machine != "x86_64" or elf.symbol("uv_default_loop") is None:
        pytest.skip(f"{NOT_ON_THIS_HOST} Node is no x86-64 program with libuv in it")
    if (known := elf.symbol("default_loop_ptr")) is None:
        pytest.skip(f"{NOT_ON_THIS_HOST} Node is stripped, so there is nothing to compare with")
    assert known in libuv.decoded(elf)


def test_handles_that_come_and_go_do_not_mislead(node):
    script = """
        process.on('SIGUSR1', handler);
        setInterval(() => { for (let i = 0; i < 20; i++) setTimeout(handler, 1); }, 1);
        const net = require('net');
        const server = net.createServer((socket) => socket.end()).listen(0, '127.0.0.1', () => {
          setInterval(() => net.connect(server.address().port).on('error', handler), 1);
        });
    """
    for _ in range(5):
        assert signal.SIGUSR1 in handled(node, script)


def test_what_cannot_be_told_is_not_guessed(node):
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            exe = Path(f"/proc/{process.pid}/exe")
            until(lambda: exe.readlink().name != Path(sys.executable).resolve().name, "exec")
            with pytest.raises(libuv.Unseen, match="not found"):
                libuv.handled_signals(process.pid)
        finally:
            process.kill()
