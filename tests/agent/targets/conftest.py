"""A /proc made of files, so that any process table can be shown to the finder."""

import os
from pathlib import Path

import pytest


class FakeProc:
    """Writes the files that the kernel would. The start is in clock ticks after boot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "net").mkdir(parents=True)
        (root / "stat").write_text("cpu 0\nbtime 1700000000\n")
        self._listeners: list[tuple[int, int]] = []
        self._write_net()

    def add(
        self,
        pid: int,
        command: str,
        *,
        exe: str = "",
        parent: int = 1,
        start: int = 100,
        state: str = "S",
        listens: tuple[int, ...] = (),
        cgroup: str = "0::/\n",
        cwd: Path | None = None,
    ) -> None:
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True)
        name = (exe or command).split(" ")[0].rpartition("/")[2][:15]
        fields = f"{parent} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0"
        (folder / "stat").write_text(f"{pid} ({name}) {state} {fields}")
        (folder / "cmdline").write_text(command.replace(" ", "\0") + "\0")
        (folder / "cgroup").write_text(cgroup)
        (folder / "maps").write_text("")
        if exe:
            (folder / "exe").symlink_to(exe)
        (folder / "cwd").symlink_to(cwd or self.root)
        for number, port in enumerate(listens):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{port + 100_000}]")
            if (port + 100_000, port) not in self._listeners:
                self._listeners.append((port + 100_000, port))
        self._write_net()

    def node(self, pid: int, script: str, **more) -> None:
        self.add(pid, f"node {script}", exe="/usr/bin/node", **more)

    def python(self, pid: int, words: str, **more) -> None:
        self.add(pid, f"python3 {words}", exe="/usr/bin/python3.11", **more)

    def end(self, pid: int) -> None:
        folder = self.root / str(pid)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()

    def _write_net(self) -> None:
        head = "sl local_address rem_address st tx_queue tr tm->when retrnsmt uid timeout inode\n"
        lines = [
            f"0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 {os.geteuid()} 0 {inode} 1"
            for inode, port in self._listeners
        ]
        (self.root / "net" / "tcp").write_text(head + "\n".join(lines))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")
