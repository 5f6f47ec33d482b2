"""Where an ordinary user's agent finds the ids of tracepoints, and what it does not believe."""

import json

import pytest

from tickbird.errors import SourceError
from tickbird.linux import tracepoints

IDS = {"sys_enter_epoll_wait": 12, "sys_exit_epoll_wait": 11}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as root makes it, with the ids of this boot; nothing else to learn them from."""
    monkeypatch.delenv(tracepoints.IDS_VARIABLE, raising=False)
    tmp_path.chmod(0o755)
    write(tmp_path, **tracepoints.host_key(), ids=IDS)
    return tmp_path


def write(folder, **document):
    file = folder / tracepoints.IDS_FILE
    file.write_text(json.dumps(document))
    file.chmod(0o644)
    return file


def find(folder):
    return tracepoints.tracepoint_ids([folder], ())


def test_ids_are_taken_from_the_variable_and_nonsense_is_left_out():
    text = "sys_enter_epoll_wait=12, sys_exit_epoll_wait=11,x=1,sys_y=z,"
    assert tracepoints.parse_ids(text) == IDS


def test_the_file_of_this_boot_is_believed(folder):
    assert find(folder) == IDS


@pytest.mark.parametrize("other", [{"boot_id": "another"}, {"release": "1.0"}])
def test_a_file_of_another_boot_or_kernel_is_not_and_the_remedy_is_one_command(folder, other):
    write(folder, **(tracepoints.host_key() | other), ids=IDS)
    with pytest.raises(SourceError) as caught:
        find(folder)
    assert "sudo tickbird setup trace" in (caught.value.remedy or "")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"boot_id": 1}', "nul\x00"])
def test_a_broken_file_is_no_file(folder, text):
    (folder / tracepoints.IDS_FILE).write_text(text)
    with pytest.raises(SourceError):
        find(folder)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_to_is_not_believed(folder, mode):
    (folder / tracepoints.IDS_FILE).chmod(mode)
    with pytest.raises(SourceError):
        find(folder)


def test_a_folder_that_others_may_write_to_is_not_believed(folder):
    folder.chmod(0o1777)
    with pytest.raises(SourceError):
        find(folder)


def test_a_link_is_not_followed(folder, tmp_path):
    file = folder / tracepoints.IDS_FILE
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")
    with pytest.raises(SourceError):
        find(folder)


def test_ends_of_different_calls_are_of_no_use():
    assert not tracepoints.usable({"sys_enter_epoll_wait": 1, "sys_exit_epoll_pwait": 2})
    assert tracepoints.usable(IDS)


def test_tracefs_is_looked_at_once_since_what_this_process_may_read_does_not_change(folder):
    roots = (folder / "tracing",)
    assert tracepoints.tracepoint_ids([folder], roots) == IDS
    for number, name in enumerate(("sys_enter_epoll_wait", "sys_exit_epoll_wait"), 100):
        place = roots[0] / "events/syscalls" / name
        place.mkdir(parents=True)
        (place / "id").write_text(str(number))
    assert tracepoints.from_tracefs(roots)
    assert tracepoints.tracepoint_ids([folder], roots) == IDS
