"""Services whose loops are blocked on purpose, and that know how long: each notes its own blocks
and turns. They run on every Node that can be had, on asyncio and on uvloop.

A turn is what lies between two waits of the loop: Node tells turns apart by libuv's own count
(not before 20), asyncio by a wrapped ``select``, uvloop by a callback that waits for the next turn.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tickbird.paths import cache_home

NODES = ("18", "20", "22", "24", "26")
WORK = 200
"""Microseconds of computing that one request takes."""
HALF_RATE = 0.5 / 230e-6
"""Requests a second that are half of what such a service can do."""
CONNECTIONS = 8
LOADS = ("idle", "half", "saturated")

NODE = """
const [plan, work] = JSON.parse(process.argv[2]);
const never = new Int32Array(new SharedArrayBuffer(4));
const blocks = [], turns = [], wall = () => (performance.timeOrigin + performance.now()) / 1e3;
const loops = () => performance.nodeTiming.uvMetricsInfo?.loopCount;
let count, begin = 0, end = 0;
function turn(callback) {
  const began = performance.now(), now = loops();
  if (now === undefined || now !== count) {
    if (end - begin >= 1) turns.push([(performance.timeOrigin + end) / 1e3, (end - begin) / 1e3]);
    begin = began; count = now;
  }
  callback(began);
  end = performance.now();
}
function compute(began, milliseconds) { while (performance.now() - began < milliseconds); }
function rest(milliseconds) { Atomics.wait(never, 0, 0, milliseconds); }
function step(at) {
  if (at === plan.length) {
    setTimeout(() => {
      turn(() => {});
      console.log(JSON.stringify({blocks, turns}));
    }, 2500);
    return;
  }
  const [sleeps, length, wait] = plan[at], due = performance.now() + wait * 1e3;
  setTimeout(() => turn((began) => {
    if (sleeps) rest(length * 1e3); else compute(began, length * 1e3);
    const took = (performance.now() - began) / 1e3;
    blocks.push([wall(), took, (began - due) / 1e3, sleeps]);
    step(at + 1);
  }), wait * 1e3);
}
require('net').createServer((socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('data', (data) => turn((began) => { compute(began, work / 1e3); socket.write(data); }));
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); step(0); });
"""
PYTHON = """
import asyncio, json, sys, time
plan, work = json.loads(sys.argv[1])
blocks, turns = [], []
offset = time.time() - time.monotonic()
class Turns:
    begin = end = None
    def finish(self):
        if self.begin is not None and self.end - self.begin >= .001:
            turns.append([self.end + offset, self.end - self.begin])
        self.begin = None
turn = Turns()
def began():
    now = time.monotonic()
    if turn.begin is None:
        turn.begin = now
        if not selecting:
            loop.call_soon(turn.finish)
    return now
def compute(since, seconds):
    while time.monotonic() - since < seconds: pass
def rest(seconds):
    time.sleep(seconds)
def step(at, due=0):
    since = began()
    if at:
        sleeps, length, _ = plan[at - 1]
        rest(length) if sleeps else compute(since, length)
        turn.end = time.monotonic()
        blocks.append([turn.end + offset, turn.end - since, since - due, sleeps])
    turn.end = time.monotonic()
    if at == len(plan):
        said = dict(blocks=blocks, turns=turns)
        loop.call_later(2.5, lambda: print(json.dumps(said), flush=True))
    else:
        wait = plan[at][2]
        loop.call_later(wait, step, at + 1, time.monotonic() + wait)
class Work(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        compute(began(), work / 1e6)
        self.transport.write(data)
        turn.end = time.monotonic()
async def main():
    global loop, selecting
    loop = asyncio.get_running_loop()
    selecting = hasattr(loop, '_selector')
    if selecting:
        select = loop._selector.select
        def selected(timeout=None):
            if turn.begin is not None:
                turn.end = time.monotonic()
            turn.finish()
            found = select(timeout)
            turn.begin = turn.end = time.monotonic()
            return found
        loop._selector.select = selected
    server = await loop.create_server(Work, '127.0.0.1', 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    step(0)
    await asyncio.sleep(1e6)
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    kind: str
    """As a target's runtime."""
    command: tuple[str, ...]
    knows_turns: bool = True


@cache
def runtimes() -> Mapping[str, Runtime]:
    """Every runtime that can be had here; what cannot is in ``missing``."""
    found = {}
    for version in NODES:
        if (path := _node(version)) is not None:
            name = f"Node {version}"
            found[name] = Runtime(name, "node", (path, "-e", NODE, "-"), version != "18")
    for name, start in (("asyncio", "asyncio"), ("uvloop", "uvloop")):
        code = f"{PYTHON}import {start}; {start}.run(main())"
        found[name] = Runtime(name, name, (sys.executable, "-c", code))
    return found


def _node(version: str) -> str | None:
    """The machine's own where it is of that version, else npm's package, kept in the cache."""
    own = shutil.which("node")
    if own and subprocess.check_output([own, "--version"], text=True).startswith(f"v{version}."):
        return own
    folder = cache_home() / "bench" / f"node-{version}"
    path = folder / "node_modules/node/bin/node"
    if not path.exists() and shutil.which("npm"):
        folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent"]
        subprocess.run([*words, f"node@{version}"], check=False, timeout=300)
    return str(path) if path.exists() else None


Block = tuple[bool, float, float]
"""Whether it sleeps, its length, the wait before it; seconds."""


def plan(blocks: int, longest: float = 0.5) -> list[Block]:
    """Lengths log-uniform from 1 ms to ``longest``."""
    rows = [
        (
            random.random() < 0.5,
            math.exp(random.uniform(math.log(0.001), math.log(longest))),
            random.uniform(0.01, 0.06),
        )
        for _ in range(blocks)
    ]
    return [(rows[0][0], rows[0][1], 3.0), *rows[1:]] if rows else []  # time to be found


@contextlib.contextmanager
def service(
    runtime: Runtime, blocks: list[Block], environ: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process and the port that it serves."""
    command = [*runtime.command, json.dumps([blocks, WORK])]
    process = subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE)
    assert process.stdout
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


class Load(threading.Thread):
    """Asks a service as often as ``load`` says, until ``stop``; counts the answers."""

    def __init__(self, port: int, load: str) -> None:
        super().__init__(daemon=True)
        self._port, self._stop_asked = port, threading.Event()
        self._gap = 0.0 if load == "saturated" else CONNECTIONS / HALF_RATE
        self.answers = 0

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def run(self) -> None:
        with selectors.DefaultSelector() as ready, contextlib.ExitStack() as opened:
            now = time.monotonic()
            due = {}
            for number in range(CONNECTIONS):
                one = opened.enter_context(socket.create_connection(("127.0.0.1", self._port)))
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(one, selectors.EVENT_READ)
                due[one] = now + self._gap * number / CONNECTIONS
            waiting = dict(due)
            while not self._stop_asked.is_set():
                self._ask(waiting)
                soonest = min(waiting.values(), default=now + 0.1)
                for key, _ in ready.select(max(0.0, min(0.1, soonest - time.monotonic()))):
                    if not key.fileobj.recv(64):
                        return
                    self.answers += 1
                    due[key.fileobj] = max(due[key.fileobj] + self._gap, time.monotonic() - 1)
                    waiting[key.fileobj] = due[key.fileobj]

    @staticmethod
    def _ask(waiting: dict[socket.socket, float]) -> None:
        now = time.monotonic()
        for one in [one for one, at in waiting.items() if at <= now]:
            del waiting[one]
            one.send(b"x")
