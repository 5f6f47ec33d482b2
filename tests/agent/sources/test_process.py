import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tickbird.errors import TargetGone
from tickbird.linux.process import Reading
from tickbird.model import Identity, Sample, Target
from tickbird.sources import process
from tickbird.sources.process import PortableReader, open_source, samples
from tickbird.testing import ManualClock, context, identity_of, target

SPIN = """
import sys, time
print('ready', flush=True)
for line in sys.stdin:
    exec(line)
    print('done', flush=True)
"""


class Child:
    """A Python process that runs a line of code when told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def run(self, code: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child():
    started = Child()
    yield started
    started.end()


def values(items) -> dict[tuple[str, ...], float]:
    return {(item.instrument.name, *item.labels): item.value for item in items}


def test_work_of_the_process_shows_in_its_own_series(child):
    source = open_source(target(pid=child.pid), context())
    before = values(source.read())
    child.run("keep=[bytearray(30_000_000), [open('/dev/null') for _ in range(7)]]")
    after = values(source.read())
    source.close()
    assert after["process.memory.usage",] - before["process.memory.usage",] > 25_000_000
    count = "process.unix.file_descriptor.count"
    assert after[count,] == before[count,] + 7
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert after["process.unix.file_descriptor.limit",] == soft
    faults = ("process.paging.faults", "minor")
    assert after[faults] > before[faults]


def test_cpu_time_and_its_share_of_one_core(child):
    clock = ManualClock(time.time())
    source = open_source(target(pid=child.pid), context(clock=clock))
    before = values(source.read())
    assert ("process.cpu.utilization",) not in before
    child.run("exec('t=time.process_time()\\nwhile time.process_time()-t<.3: pass')")
    clock.advance(1.0)
    after = values(source.read())
    source.close()
    used = sum(
        after["process.cpu.time", mode] - before["process.cpu.time", mode]
        for mode in ("user", "system")
    )
    assert used == pytest.approx(0.3, abs=0.05)
    assert after["process.cpu.utilization",] == pytest.approx(used)


def test_a_process_that_stands_still_is_looked_at_as_a_whole_every_five_seconds(child):
    clock = ManualClock(time.time())
    source = open_source(target(pid=child.pid), context(clock=clock))
    whole = values(source.read()).keys() | {("process.cpu.utilization",)}
    every_second = {
        ("process.cpu.time", "user"),
        ("process.cpu.time", "system"),
        ("process.cpu.utilization",),
        ("process.memory.usage",),
        ("process.unix.file_descriptor.count",),
    }
    seen = []
    for _ in range(6):
        clock.advance(1.0)
        seen.append(values(source.read()))
    source.close()
    assert [one.keys() for one in seen] == [every_second] * 4 + [whole] + [every_second]
    assert all(one["process.cpu.utilization",] == 0 for one in seen)


def test_what_was_written_to_storage_and_waiting_for_a_cpu_are_counters(child, tmp_path):
    source = open_source(target(pid=child.pid), context())
    before = values(source.read())
    child.run(f"open({str(tmp_path / 'f')!r},'wb').write(bytes(300_000)); time.sleep(.01)")
    after = values(source.read())
    source.close()
    written = ("process.disk.io", "write")
    assert after[written] >= before[written]
    assert after["process.runqueue.time",] >= before["process.runqueue.time",] >= 0
    switches = ("process.context_switches", "voluntary")
    assert after[switches] > before[switches]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_an_ended_process_is_gone_and_its_files_are_let_go(child):
    descriptors = open_descriptors()
    source = open_source(target(pid=child.pid), context())
    child.end()
    with pytest.raises(TargetGone):
        source.read()
    source.close()
    source.close()
    assert open_descriptors() <= descriptors


def test_a_reused_pid_is_not_the_process_that_was_meant(child):
    real = identity_of(child.pid)
    other = Target("x", "x", Identity(real.pid, real.start_ticks - 1, real.started_at), "node")
    with pytest.raises(TargetGone):
        open_source(other, context())


def test_a_zombie_is_reported_and_not_fatal(child):
    source = open_source(target(pid=child.pid), context())
    child.process.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = values(source.read())
    assert found["process.memory.usage",] == 0
    assert "zombie" in source.problems[0]
    source.close()


def test_fields_of_another_users_process_are_absent_and_named_once(child):
    watched = child.pid if os.geteuid() == 0 else 1
    mine = open_source(target(pid=watched), context())
    read_end, write_end = os.pipe()
    if (forked := os.fork()) == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        source = open_source(target(pid=watched), context())
        found = [[item.instrument.name for item in source.read()], source.problems]
        os.write(write_end, json.dumps(found).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        names, problems = json.loads(pipe.read())
    os.waitpid(forked, 0)
    mine.close()
    assert "process.cpu.time" in names
    assert "process.memory.usage" in names
    assert "process.disk.io" not in names
    assert len(problems) == 1
    assert "another user" in problems[0]


def test_what_is_not_known_has_no_series():
    found = samples(Reading(cpu=(1.0, 2.0), resident=3, virtual=4, threads=None))
    assert {one.instrument.name for one in found} == {
        "process.cpu.time",
        "process.memory.usage",
        "process.memory.virtual",
    }


def test_cgroup_limits_and_throttling_become_series():
    reading = Reading((0, 0), 0, 0, 1, memory_limit=5, cpu_limit=0.5, throttled=2.5)
    assert {
        Sample(process.CONTAINER_MEMORY_LIMIT, 5),
        Sample(process.CONTAINER_CPU_LIMIT, 0.5),
        Sample(process.CONTAINER_THROTTLED, 2.5),
    } <= set(samples(reading))


def test_the_portable_reader_agrees_with_the_linux_one(child):
    identity = identity_of(child.pid)
    linux, portable = process.LinuxReader(identity), PortableReader(identity)
    one, other = linux.read(0), portable.read(0)
    assert (one.threads, one.descriptors) == (other.threads, other.descriptors)
    assert one.resident == pytest.approx(other.resident, rel=0.02)
    assert one.cpu == pytest.approx(other.cpu, abs=0.05)
    child.end()
    with pytest.raises(TargetGone):
        portable.read(1)
    linux.close()
    portable.close()


def test_a_target_without_a_process_has_no_such_source():
    assert open_source(target(), context()) is None
