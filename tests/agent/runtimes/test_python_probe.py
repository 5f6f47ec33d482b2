import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tickbird

BLOCKS = """
import asyncio, json, random, sys, time
async def main():
    blocks = []
    for _ in range(8):
        await asyncio.sleep(random.uniform(0.15, 0.35))
        length, start, began = random.uniform(0.15, 0.4), time.time(), time.monotonic()
        if {sleeps}:
            time.sleep(length)
        while time.monotonic() - began < length:
            pass
        blocks.append(dict(start=start, duration=time.monotonic() - began))
    await asyncio.sleep(0.05)
    print(json.dumps(blocks))
{run}
"""
RUN = {
    "asyncio": "asyncio.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
}
ONE_LOOP = "import asyncio; asyncio.run(asyncio.sleep(0.1))"


@pytest.mark.parametrize("runtime", ["asyncio", "uvloop"])
@pytest.mark.parametrize("sleeps", [False, True], ids=["computing", "sleeping"])
def test_stalls_are_what_the_service_measured_itself(python, runtime, sleeps):
    if runtime == "uvloop":
        pytest.importorskip("uvloop")
    service = python(BLOCKS.format(sleeps=sleeps, run=RUN[runtime]))
    blocks = json.loads(service.finish())
    assert {report.runtime for report in service.reports if report.loop} == {runtime}
    stalls = [stall for report in service.reports for stall in report.stalls]
    assert len(stalls) == len(blocks)
    for stall, block in zip(stalls, blocks, strict=True):
        assert stall.duration == pytest.approx(block["duration"], rel=0.1)
        assert stall.start == pytest.approx(block["start"], abs=0.05)


def test_active_and_idle_time_add_up_to_the_window(python):
    service = python("import asyncio; asyncio.run(asyncio.sleep(2.5))")
    service.finish()
    for window in service.reports[:2]:
        assert window.duration == pytest.approx(1, abs=0.3)
        spent = window.loop.active + window.loop.idle
        assert spent == pytest.approx(window.duration, rel=0.05)
        assert window.loop.min <= window.loop.sum / window.loop.count <= window.loop.max


def test_a_loop_that_ends_early_is_still_reported(python):
    service = python(ONE_LOOP)
    service.finish()
    assert len(service.reports) == 1


@pytest.mark.parametrize("runtime", ["asyncio", "uvloop"])
def test_a_loop_that_has_stopped_says_so_once(python, runtime):
    if runtime == "uvloop":
        pytest.importorskip("uvloop")
    service = python(
        f"import asyncio, time, {runtime}\n{runtime}.run(asyncio.sleep(1.3)); time.sleep(60)"
    )
    service.until(lambda: any(report.loop is None for report in service.reports))
    assert [report.runtime for report in service.reports] == [runtime, runtime, "python"]


def test_an_import_hook_of_the_old_kind_does_not_break_the_import_of_asyncio(python):
    service = python("""
import sys
class Old:
    def find_module(self, name, path=None):
        return None
sys.meta_path.insert(1, Old())
import asyncio
asyncio.run(asyncio.sleep(0.1))
""")
    service.finish()
    assert service.reports[-1].loop is not None


def test_time_between_two_runs_of_a_loop_is_nobodys_stall(python):
    service = python("""
import asyncio, time
loop = asyncio.new_event_loop()
for _ in range(3):
    loop.run_until_complete(asyncio.sleep(0.05))
    time.sleep(0.3)
""")
    service.finish()
    assert [stall for report in service.reports for stall in report.stalls] == []


def test_a_script_without_a_loop_imports_next_to_nothing_and_sends_nothing(python):
    source = "import sys; print(*sys.modules)"
    bare = subprocess.check_output([sys.executable, "-c", source], text=True)
    service = python(source)
    added = set(service.finish().split()) - set(bare.split())
    assert added <= {
        "sitecustomize", "tickbird_probe", "tickbird_measure",
        "__future__", "bisect", "_bisect", "atexit",
    }  # fmt: skip
    assert "tickbird_probe" in added
    assert service.reports == []


def test_the_sitecustomize_of_the_application_still_runs(python, tmp_path):
    folder = tmp_path / "application"
    folder.mkdir()
    folder.joinpath("sitecustomize.py").write_text("NAME = 'the application'\n")
    service = python(
        "import sys, sitecustomize as own; print(own.NAME, any('runtimes' in p for p in sys.path))",
        folder,
    )
    assert service.finish() == "the application False\n"


@pytest.mark.parametrize("address", ["garbage", "127.0.0.1:99999", "10.0.0.1:9", "127.0.0.1:1"])
def test_a_service_runs_and_ends_as_without_a_probe_when_nobody_listens(python, address):
    source = "import asyncio; asyncio.run(asyncio.sleep(1.2)); print('done')"
    service = python(source, TICKBIRD_PROBE=address)
    assert service.finish() == "done\n"
    assert service.stderr == ""


def test_a_forked_worker_reports_under_its_own_pid(python):
    service = python("""
import asyncio, os
asyncio.run(asyncio.sleep(0.1))
child = os.fork()
asyncio.run(asyncio.sleep(1.2))
if child:
    os.waitpid(child, 0)
    print(os.getpid(), child)
""")
    pids = {int(pid) for pid in service.finish().split()}
    assert {report.pid for report in service.reports} == pids
    for pid in pids:
        numbers = [report.seq for report in service.reports if report.pid == pid]
        assert numbers == list(range(len(numbers)))


def test_a_spawned_worker_reports_under_its_own_pid(python):
    service = python("""
import asyncio, multiprocessing
def work():
    asyncio.run(asyncio.sleep(0.2))
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    print(child.pid)
    child.join()
""")
    child = int(service.finish())
    assert {report.pid for report in service.reports} == {child}


def test_a_loop_in_another_thread_gives_way_to_the_main_threads(python):
    service = python("""
import asyncio, threading, time
def blocked():
    async def forever():
        while True:
            time.sleep(0.3)
            await asyncio.sleep(0.3)
    asyncio.run(forever())
threading.Thread(target=blocked, daemon=True).start()
time.sleep(0.2)
asyncio.run(asyncio.sleep(2.5))
""")
    service.finish()
    stalls = [stall for report in service.reports[1:] for stall in report.stalls]
    assert stalls == []


def test_the_probe_reads_as_python_3_8():
    folder = Path(tickbird.__file__).parent / "runtimes/python"
    for file in folder.glob("*.py"):
        ast.parse(file.read_text(), file.name, feature_version=(3, 8))
