from pathlib import Path

import pytest

from tickbird.linux import cgroup

FIXTURES = Path(__file__).parents[2] / "fixtures/proc"


def test_the_tightest_limit_on_the_way_up_counts_and_its_group_is_the_throttled_one():
    found = cgroup.limits(42, FIXTURES / "cgroup2")
    assert (found.memory, found.cpu) == (512 << 20, 0.5)
    assert found.throttled is not None
    assert cgroup.parse_throttled(found.throttled.read_bytes()) == 2.5


def test_no_limit_is_none_and_not_a_huge_number():
    assert cgroup.limits(43, FIXTURES / "cgroup2") == cgroup.Limits()


def test_a_group_outside_of_our_namespace_is_not_guessed_at():
    assert cgroup.limits(44, FIXTURES / "cgroup2") == cgroup.Limits()


def test_version_one_is_read_by_controller_even_beside_version_two():
    found = cgroup.limits(42, FIXTURES / "cgroup1")
    assert (found.memory, found.cpu) == (64 << 20, 0.1)
    assert found.throttled is not None
    assert cgroup.parse_throttled(found.throttled.read_bytes()) == 1.25


def test_a_mount_that_shows_only_the_containers_own_part_is_understood():
    assert cgroup.limits(42, FIXTURES / "nested").memory == 64 << 20


def test_a_host_without_cgroups_has_no_limits(tmp_path):
    assert cgroup.limits(42, tmp_path) == cgroup.Limits()


@pytest.mark.parametrize("text", ["", "max", "-1", "9223372036854771712", "many"])
def test_memory_without_a_limit(text):
    assert cgroup.parse_memory_limit(text) is None
