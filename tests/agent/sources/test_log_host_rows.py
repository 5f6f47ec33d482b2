"""The fault catalogue's rows on what the host allows: permissions, watches, descriptors, clocks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tailing import Reader, append, few_descriptors, rename_rotation
from tickbird.sources import attention
from tickbird.sources.changes import Changes
from tickbird.sources.descriptors import Descriptors

TESTS = Path(__file__).parents[2]


@pytest.fixture
def changes() -> Iterator[Changes]:
    told = Changes()
    yield told
    told.close()


class Woken:
    """Reads as the agent does: sleeps until something is told, then looks where it was told."""

    def __init__(self, changes: Changes, *patterns: object, **options: object) -> None:
        self.changes = changes
        self.reader = Reader(*patterns, changes=changes, **options)
        self.lines = self.reader()

    def until(self, lines: list[str], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        told = self.reader.tailer.attention
        while self.lines != lines:
            assert time.monotonic() < end, f"{self.lines[-3:]} instead of {lines[-3:]}"
            self.changes.wait(end - time.monotonic())
            told.hear(self.changes.told())
            if told.news:
                self.reader.clock.now += 1
                self.reader.tailer.scan()
            self._read()

    def _read(self) -> None:
        for tail in self.reader.tailer.readable():
            self.lines += [line.data.decode() for line in tail.read()]
            tail.acked = tail.begun


def in_a_process(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
    """What a process of its own prints that runs ``code`` with the helpers of the tests."""
    head = "import os, sys, pathlib; sys.path.insert(0, sys.argv[1]); from tailing import *\n"
    command = [*prefix, sys.executable, "-c", head + code, TESTS, *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_row_23_a_step_of_the_wall_clock_loses_and_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, "a\n")
    read = Reader(log)
    assert read() == ["a"]
    for hours in (1, -1):
        stamp = time.time() + hours * 3600
        append(log, f"{hours}\n")
        os.utime(log, (stamp, stamp))
        rename_rotation(log)
        append(log, "next\n")
        assert read() == [f"{hours}", "next"]
        assert read() == []


AS_NOBODY = """
os.setgroups([]); os.setgid(65534); os.setuid(65534)
log = pathlib.Path(sys.argv[2])
read = Reader(log)
for _ in sys.stdin:
    print(read(), read.tailer.problems, flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this host: needs root, to become another")
def test_row_25_permission_denied_and_given_again(tmp_path: Path) -> None:
    for part in (tmp_path, *tmp_path.parents):
        if "pytest" in str(part):
            part.chmod(0o755)
    log = tmp_path / "app.log"
    append(log, "a\n")
    log.chmod(0o600)
    head = "import os, sys, pathlib; sys.path.insert(0, sys.argv[1]); from tailing import *\n"
    with subprocess.Popen(
        [sys.executable, "-c", head + AS_NOBODY, str(TESTS), str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:

        def look() -> str:
            assert reader.stdin and reader.stdout
            reader.stdin.write("\n")
            reader.stdin.flush()
            return reader.stdout.readline()

        why = f"cannot read {log}: permission denied; what to do: give this user read permission"
        assert look() == f"[] ['{why}']\n"
        log.chmod(0o644)
        assert look() == "['a'] []\n"
        log.chmod(0o600)
        append(log, "b\n")
        assert look() == "['b'] []\n"  # what is open stays so
        log.chmod(0o644)
        append(log, "c\n")
        assert look() == "['c'] []\n"


def test_a_line_wakes_the_reader_at_once_and_a_rotation_too(
    tmp_path: Path, changes: Changes
) -> None:
    log = tmp_path / "app.log"
    append(log, "0\n")
    woken = Woken(changes, log)
    lines = ["0"]
    for number in range(1, 6):
        append(log, f"{number}\n")
        if number % 2:
            rename_rotation(log)
        lines.append(f"{number}")
        woken.until(lines)


def test_a_file_in_a_folder_that_comes_later_wakes_the_reader(
    tmp_path: Path, changes: Changes
) -> None:
    woken = Woken(changes, tmp_path / "pods" / "*" / "*.log")
    for number in range(3):
        folder = tmp_path / "pods" / f"{number}"
        folder.mkdir(parents=True)
        append(folder / "app.log", f"{number}\n")
        woken.until([f"{n}" for n in range(number + 1)])


def test_the_target_of_a_symlink_wakes_the_reader(tmp_path: Path, changes: Changes) -> None:
    target = tmp_path / "real" / "0.log"
    target.parent.mkdir()
    append(target, "0\n")
    (tmp_path / "link.log").symlink_to(target)
    woken = Woken(changes, tmp_path / "link.log")
    woken.reader.tailer.scan()  # the folder of the target is watched from the second look on
    append(target, "1\n")
    woken.until(["0", "1"])
    rename_rotation(target)
    append(target, "2\n")
    woken.until(["0", "1", "2"])


def test_an_idle_file_is_left_alone(tmp_path: Path, changes: Changes) -> None:
    for number in range(10):
        append(tmp_path / f"{number}.log", "a\n")
    read = Reader(tmp_path / "*.log", changes=changes)
    read()
    told = read.tailer.attention
    assert not told.any_awake()
    assert told.next_look() - read.clock.now == attention.SLOW
    assert changes.told() is not None
    began = time.monotonic()
    changes.wait(0.5)
    assert time.monotonic() - began >= 0.5


WITHOUT = """
from tickbird.sources.changes import Changes
changes = Changes()
log = pathlib.Path(sys.argv[2])
read = Reader(log, changes=changes)
append(log, "a\\n")
first = read()
append(log, "b\\n")
told = read.tailer.attention
print(changes.watch_folder("/"), first, told.any_awake(), read(), round(told.next_look() - 1000))
"""
BARE = 'echo 0 > /proc/sys/user/max_inotify_{what} && exec "$@"'


@pytest.mark.parametrize("what", ["instances", "watches"])
def test_row_30_without_inotify_files_are_looked_at_again_and_again(
    tmp_path: Path, what: str
) -> None:
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", BARE.format(what=what), "sh")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"]).returncode:
        pytest.skip("not on this host: no user namespace with limits of its own")
    out = in_a_process(WITHOUT, tmp_path / "app.log", prefix=prefix)
    assert out == "None ['a'] True ['b'] 1\n"


def test_row_30_when_events_are_lost_every_file_is_looked_at(
    tmp_path: Path, changes: Changes
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("not on this host: its queue of events is too long to overflow")
    log = tmp_path / "app.log"
    append(log, "a\n")
    woken = Woken(changes, log)
    assert woken.lines == ["a"]
    for number in range(limit // 2 + 1):
        names = (tmp_path / f"x{number}", tmp_path / f"y{number}")
        names[0].touch()
        names[0].rename(names[1])
    append(log, "b\n")
    woken.until(["a", "b"])


def test_row_31_a_stale_handle_is_opened_again_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "app.log"
    append(log, "a\n")
    read = Reader(log)
    assert read() == ["a"]
    (tail,) = read.tailer.tails
    stale, pread = tail.file, os.pread

    def of_a_network_file_system(file: int, length: int, offset: int) -> bytes:
        if file == stale and not opened:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(file, length, offset)

    opened: list[str] = []
    monkeypatch.setattr(os, "pread", of_a_network_file_system)
    append(log, "b\n")
    assert read() == []
    assert "stale file handle" in read.tailer.problems[0]
    opened.append("the file server is back")
    assert read() == ["b"]
    assert read() == []
    assert read.tailer.problems == []


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("after", range(4))
def test_row_31_a_file_that_cannot_be_read_at_first_is_taken_up_later_and_keeps_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, after: int
) -> None:
    log, new = tmp_path / "app.log", tmp_path / "new.log"
    append(log, "a\n")
    read = Reader(tmp_path / "*.log")
    assert read() == ["a"]
    marks = read.stop()
    append(log, "b\n")
    append(new, "c\n")
    pread, failing, reads = os.pread, [True], {}

    def of_a_sick_disk(file: int, length: int, offset: int) -> bytes:
        where = str(Path(f"/proc/self/fd/{file}").readlink())
        reads[where] = reads.get(where, 0) + 1
        if failing and reads[where] > after:
            raise OSError(error, os.strerror(error))
        return pread(file, length, offset)

    def held() -> int:
        return sum(
            str(tmp_path) in os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()
        )

    monkeypatch.setattr(os, "pread", of_a_sick_disk)
    read = read.restarted(marks)
    for _ in range(3):
        reads.clear()
        read.tailer.scan()
        assert held() == sum(not tail.parked for tail in read.tailer.tails)
    assert after > 1 or str(log) in read.tailer.problems[0]
    failing.clear()
    assert sorted(read()) == ["b", "c"]
    assert read.tailer.problems == []


def test_row_31_another_device_id_after_a_remount_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, "a\n")
    read = Reader(log)
    read()
    (mark,) = read.stop()
    moved = tmp_path / "moved"
    shutil.copy2(log, moved)  # another inode stands for another device: one identity, both parts
    moved.replace(log)
    append(log, "b\n")
    assert read.restarted([mark])() == ["b"]


LOW = """
import resource, os
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
folder = pathlib.Path(sys.argv[2])
read = Reader(folder / "*.log")
lines = read()
for number in range(200):
    append(folder / f"{number}.log", f"later {number}\\n")
lines += read()
print(len(lines), len(set(lines)), read.tailer.problems, len(os.listdir("/proc/self/fd")) < 60)
"""


def test_row_32_two_hundred_files_with_a_hundred_descriptors_are_each_read_once(
    tmp_path: Path,
) -> None:
    for number in range(200):
        append(tmp_path / f"{number}.log", f"first {number}\n" * 1 + f"second {number}\n")
    assert in_a_process(LOW, tmp_path) == "600 600 [] True\n"


TAKEN = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
few = few_descriptors(50)
read = Reader(pathlib.Path(sys.argv[2]) / "*.log", descriptors=few)
lines = read()
print(sorted(map(int, lines)) == list(range(60)), few.limit < 40, read.tailer.problems)
"""


def test_row_32_when_others_take_the_descriptors_fewer_are_held(tmp_path: Path) -> None:
    for number in range(60):
        append(tmp_path / f"{number}.log", f"{number}\n")
    assert in_a_process(TAKEN, tmp_path) == "True True []\n"


def test_row_32_when_others_give_the_descriptors_back_as_many_are_held_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        append(tmp_path / f"{number}.log", f"{number}\n")
    short = few_descriptors(20)
    read = Reader(tmp_path / "*.log", descriptors=short)
    read()
    opening, taken = os.open, [True]

    def once_short(path: str, flags: int, *mode: int, **folder: int) -> int:
        if taken and str(path).startswith(str(tmp_path)):
            taken.clear()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opening(path, flags, *mode, **folder)

    monkeypatch.setattr(os, "open", once_short)
    lowest = short.limit
    for number in range(200):
        for name in range(30):
            append(tmp_path / f"{name}.log", f"{number}\n")
        assert len(read()) == 30
        lowest = min(lowest, short.limit)
        if lowest < 20 == short.limit:
            break
    assert lowest <= 10
    assert short.limit == 20


def test_row_33_ten_thousand_files_and_one_that_is_written_to(
    tmp_path: Path, changes: Changes
) -> None:
    for number in range(10_000):
        (tmp_path / f"{number}.log").write_bytes(b"%d\n" % number)
    woken = Woken(changes, tmp_path / "*.log", descriptors=Descriptors())
    assert len(set(woken.lines)) == 10_000
    assert len(list(Path("/proc/self/fd").iterdir())) < 400
    assert not woken.reader.tailer.attention.any_awake()
    for number in (77, 9_999, 77):
        append(tmp_path / f"{number}.log", f"new in {number}\n")
        woken.until([*woken.lines, f"new in {number}"])


def test_row_33_a_busy_file_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    for number in range(50):
        append(tmp_path / f"{number:02}.log", ("x" * 99 + "\n") * 2000)
    read = Reader(tmp_path / "*.log")
    read.tailer.scan()
    for _ in range(10):  # a round of the log path ends after some files
        for tail in islice(read.tailer.readable(), 5):
            tail.read()
    assert all(tail.position for tail in read.tailer.tails)


def test_row_34_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "zero.log").symlink_to("/dev/zero")
    append(tmp_path / "real.log", "a\n")
    read = Reader(tmp_path / "*.log")
    assert read() == ["a"]
    assert read.tailer.problems == []


def test_row_79_the_agents_own_log_and_state_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    append(tmp_path / "state" / "x.log", "mine\n")
    append(tmp_path / "a.log", "a\n")
    (tmp_path / "state.log").symlink_to(tmp_path / "state" / "x.log")
    assert Reader(tmp_path / "**" / "*.log", exclude=[tmp_path / "state"])() == ["a"]
    own = tmp_path / "own.log"
    code = "for _ in range(2): print(Reader(sys.argv[2] + '/own*')(), flush=True)"
    head = "import os, sys, pathlib; sys.path.insert(0, sys.argv[1]); from tailing import *\n"
    with own.open("wb") as out:
        subprocess.run(
            [sys.executable, "-c", head + code, str(TESTS), str(tmp_path)], stdout=out, check=True
        )
    assert own.read_text() == "[]\n[]\n"
