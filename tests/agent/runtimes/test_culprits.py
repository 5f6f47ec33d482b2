"""The watchdogs in real services: what holds the loop is named, while it does, at no one's cost."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import tickbird

PROBE = Path(tickbird.__file__).parent / "runtimes/node/probe.cjs"

needs_node = pytest.mark.node
LOOPS = ["asyncio", "uvloop"]

NODE = """
const { performance } = require('perf_hooks');
const blocks = [];
function compute(ms) { const end = performance.now() + ms; while (performance.now() < end); }
function sleep(ms) { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms); }
function next(left) {
  if (left === 0) { setTimeout(() => console.log(JSON.stringify(blocks)), 100); return; }
  setTimeout(() => {
    const start = Date.now() / 1000;
    %s(200 + Math.random() * 200);
    blocks.push({ start, duration: Date.now() / 1000 - start });
    next(left - 1);
  }, 100 + Math.random() * 100);
}
setTimeout(next, 300, %d);
"""

PYTHON = """
import asyncio, json, random, time
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
def sleep(seconds):
    time.sleep(seconds)
async def main():
    blocks = []
    for _ in range(%d):
        await asyncio.sleep(random.uniform(0.1, 0.2))
        start, began = time.time(), time.monotonic()
        %s(random.uniform(0.2, 0.4))
        blocks.append(dict(start=start, duration=time.monotonic() - began))
    await asyncio.sleep(0.1)
    print(json.dumps(blocks))
%s
"""
RUN = {
    "asyncio": "asyncio.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
}


def python_source(how, blocks, loop="asyncio"):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    return PYTHON % (blocks, how, RUN[loop])


def word_on(service, block):
    """The last that was said of a block, and how long after its start the first word came."""
    near = [
        (stall, arrived)
        for stall, arrived in service.live
        if abs(stall.start - block["start"]) < 0.1
    ]
    return near[-1][0], near[0][1] - block["start"]


def hold_to(service, blocks, function, causes):
    words = [word_on(service, block) for block in blocks]
    assert sum(late < 0.3 for _, late in words) >= 0.95 * len(blocks), [late for _, late in words]
    named = [stall.culprit.function if stall.culprit else None for stall, _ in words]
    assert named.count(function) >= 0.95 * len(blocks), named
    assert all(stall.culprit.file.endswith(("service.cjs", "service.py")) for stall, _ in words)
    found = [stall.cause for stall, _ in words]
    # A busy machine starves services, and makes it unclear what a stall was spent on; but what is
    # said is true.
    assert set(found) <= {*causes, None}, found
    assert sum(cause in causes for cause in found) >= 0.5 * len(blocks), found


CAUSES = {"compute": {"cpu", "starved"}, "sleep": {"blocking call"}}


@needs_node
@pytest.mark.parametrize("how", ["compute", "sleep"])
def test_a_node_service_names_what_holds_its_loop(node, how):
    service = node(NODE % (how, 20))
    hold_to(service, json.loads(service.finish()), how, CAUSES[how])


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["compute", "sleep"])
def test_a_python_service_names_what_holds_its_loop(python, how, loop):
    service = python(python_source(how, 20, loop))
    hold_to(service, json.loads(service.finish()), how, CAUSES[how])


@needs_node
def test_a_call_that_cannot_be_interrupted_is_named_when_it_returns(node):
    service = node("""
        function derive() { require('crypto').pbkdf2Sync('a', 'b', 600000, 64, 'sha512'); }
        setTimeout(() => { derive(); setTimeout(() => {}, 200); }, 400);
    """)
    service.finish()
    assert service.live[-1][0].culprit.function == "derive"
    assert any("node:" in frame for frame in service.live[-1][0].culprit.stack)


def test_the_service_s_own_function_is_named_not_the_library_s(python):
    service = python("""
import asyncio, subprocess
class Shop:
    def resize(self):
        subprocess.run(["sleep", "0.3"])
async def main():
    Shop().resize()
    await asyncio.sleep(0.1)
asyncio.run(main())
""")
    service.finish()
    culprit = service.live[-1][0].culprit
    assert culprit.function.endswith("resize")
    assert "subprocess.py" in culprit.stack[0]
    assert service.live[-1][0].cause == "blocking call"


def test_waiting_for_a_lock_is_told_from_other_calls(python):
    service = python("""
import asyncio, threading
async def main():
    threading.Event().wait(0.3)
asyncio.run(main())
""")
    service.finish()
    assert service.live[-1][0].cause == "lock"


@needs_node
@pytest.mark.parametrize("source", ["setTimeout(() => {}, 2500)"])
def test_an_idle_node_loop_is_no_stall(node, source):
    service = node(source)
    service.finish()
    assert service.live == []


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_python_loop_is_no_stall(python, loop):
    service = python(python_source("compute", 0, loop).replace("sleep(0.1)", "sleep(1.5)"))
    service.finish()
    assert service.live == []


def test_time_between_two_runs_of_a_loop_is_not_told_as_a_stall(python):
    service = python("""
import asyncio, time
loop = asyncio.new_event_loop()
for _ in range(2):
    loop.run_until_complete(asyncio.sleep(0.05))
    time.sleep(0.4)
""")
    service.finish()
    assert service.live == []


@pytest.mark.parametrize("runtime", [pytest.param("node", marks=needs_node), "python"])
def test_a_suspended_process_accuses_nobody(request, runtime):
    source = {
        "node": "setTimeout(() => {}, 2500); setTimeout(() => console.log('up'), 500)",
        "python": """
import asyncio
async def main():
    await asyncio.sleep(0.5)
    print('up', flush=True)
    await asyncio.sleep(2)
asyncio.run(main())
""",
    }[runtime]
    service = request.getfixturevalue(runtime)(source)
    assert service.line() == "up"
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)  # the length of the suspension is what is tested
    service.process.send_signal(signal.SIGCONT)
    service.finish()
    assert service.live == []


@pytest.mark.parametrize("runtime", [pytest.param("node", marks=needs_node), "python"])
def test_it_can_be_switched_off(request, runtime):
    source = NODE % ("compute", 1) if runtime == "node" else python_source("compute", 1)
    service = request.getfixturevalue(runtime)(source, TICKBIRD_CULPRITS="off")
    service.finish()
    assert service.live == []
    assert [stall for report in service.reports for stall in report.stalls]


@needs_node
@pytest.mark.parametrize("hold", ["compute(130)", "execSync('sleep 0.13')"])
@pytest.mark.parametrize("end", ["process.exit(0)", "throw new Error('of its own')"])
def test_a_service_that_ends_right_after_a_stall_ends_as_ever(node, hold, end):
    service = node(f"""
        const {{ execSync }} = require('child_process');
        function compute(ms) {{ const end = Date.now() + ms; while (Date.now() < end); }}
        setTimeout(() => {{ {hold}; {end}; }}, 400);
    """)
    began = time.monotonic()
    service.until(lambda: service.process.poll() is not None)
    _, errors = service.process.communicate()
    assert time.monotonic() - began < 5
    assert service.process.returncode == (0 if "exit" in end else 1)
    assert "debugger" not in errors


@needs_node
def test_a_service_that_uses_the_debugger_itself_is_left_at_it(node):
    service = node("""
        const { Worker } = require('worker_threads');
        const worker = new Worker(`
          const { Session } = require('inspector');
          const session = new Session();
          session.connectToMainThread();
          let paused = 0;
          session.on('Debugger.paused', ({ params }) => {
            if (params.reason === 'exception') paused++;
            session.post('Debugger.resume');
          });
          session.post('Debugger.enable');
          session.post('Debugger.setPauseOnExceptions', { state: 'all' }, () => {
            require('worker_threads').parentPort.postMessage('ready');
          });
          require('worker_threads').parentPort.once('message', () => {
            session.disconnect();
            require('worker_threads').parentPort.postMessage(paused);
          });
        `, { eval: true });
        function compute(ms) { const end = Date.now() + ms; while (Date.now() < end); }
        function fail() { try { throw new Error('of its own'); } catch {} }
        worker.once('message', () => {
          worker.once('message', (paused) => console.log(paused));
          let left = 5;
          const timer = setInterval(() => {
            fail();
            compute(250);
            fail();
            if (--left === 0) { clearInterval(timer); worker.postMessage('end'); }
          }, 400);
        });
    """)
    assert int(service.finish()) == 10
    named = {stall.culprit.function for stall, _ in service.live if stall.culprit}
    assert named == {"compute"}


@needs_node
def test_an_open_inspector_means_that_nothing_is_asked(node):
    service = node(
        "require('inspector').open(0, '127.0.0.1');"
        + NODE % ("compute", 2)
        + """
        setTimeout(() => require('inspector').close(), 1600).unref();
    """
    )
    service.until(lambda: service.process.poll() is not None)
    assert [stall for stall, _ in service.live if stall.culprit] == []


@needs_node
def test_cluster_workers_each_name_their_own(node):
    service = node("""
        const cluster = require('cluster');
        function compute(ms) { const end = Date.now() + ms; while (Date.now() < end); }
        if (cluster.isPrimary) { cluster.fork(); cluster.fork(); }
        else setTimeout(() => { compute(300); setTimeout(() => process.exit(0), 100); }, 500);
    """)
    service.finish()
    named = {(s.pid, s.culprit.function) for s, _ in service.live if s.culprit}
    assert len({pid for pid, _ in named}) == 2
    assert {function for _, function in named} == {"compute"}


def test_parent_and_child_of_a_fork_each_name_their_own(python):
    service = python("""
import asyncio, os, threading, time
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
async def main():
    await asyncio.sleep(0.05)
    before = threading.active_count()
    child = os.fork()
    if child == 0:
        assert threading.active_count() == 1
        asyncio._set_running_loop(None)
        loop = asyncio.new_event_loop()
        async def again():
            await asyncio.sleep(0.05)
            time.sleep(0.3)
            await asyncio.sleep(0.05)
        loop.run_until_complete(again())
        os._exit(0)
    assert threading.active_count() == before
    compute(0.3)
    await asyncio.sleep(0.05)
    assert os.waitpid(child, 0)[1] == 0
    print(os.getpid(), child)
asyncio.run(main())
""")
    parent, child = map(int, service.finish().split())
    named = {(s.pid, s.culprit.function) for s, _ in service.live if s.culprit}
    # Where the child is slow, its parent does stand still in waitpid.
    assert named - {(parent, "main")} == {(parent, "compute"), (child, "main.<locals>.again")}


@needs_node
def test_the_permission_model_of_node_is_respected(launched, tmp_path):
    node = shutil.which("node")
    script = tmp_path / "service.cjs"
    script.write_text(NODE % ("compute", 1))
    known = subprocess.check_output(
        [node, "-p", "[...process.allowedNodeEnvironmentFlags].join(' ')"], text=True
    ).split()
    model = "--permission" if "--permission" in known else "--experimental-permission"
    allowed = [model, "--allow-fs-read=*", *(["--allow-net"] if "--allow-net" in known else [])]
    service = launched([node, *allowed, f"--require={PROBE}", str(script)], NODE_NO_WARNINGS="1")
    assert len(json.loads(service.finish())) == 1
    assert [stall for report in service.reports for stall in report.stalls]
    assert service.live == []
