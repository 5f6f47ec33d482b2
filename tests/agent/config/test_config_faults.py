"""Row 57 of the fault catalogue: whatever is wrong in a file is refused, all of it at once."""

import pytest

from tickbird import config
from tickbird.errors import ConfigError


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "tickbird.yaml")
    assert caught.value.exit_code == 78
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets:\n- lops: 1", ':2 targets[0].lops: unknown key; did you mean "loop"?'),
        ("colector: {}", ':1 colector: unknown key; did you mean "collector"?'),
        ("zzzzzz: 1", "unknown key; known here: instance, service"),
        ("instance: default\ninstance: other", ':2 key "instance" stands twice (first: line 1)'),
        ("targets: 3", "targets: must be a list"),
        ("logs: [1]", "logs: must be a mapping"),
        ("instance: [a]", "instance: must be one value, not a list"),
        ("logs: {correlate: maybe}", "logs.correlate: must be true or false"),
        ("logs: {format: jsn}", 'did you mean "json"?'),
        ("logs: {rate_limit: 100}", "logs.rate_limit: must be a mapping"),
        ("logs: {rate_limit: {burst: 9}}", "logs.rate_limit.lines_per_second: is missing"),
        ("logs: {rate_limit: {lines_per_second: 0}}", "whole number from 1 to 1000000"),
        ("logs: {rate_limit: {lines_per_second: 1.5}}", "not a number of lines"),
        ("logs: {rate_limit: {lines_per_second: 9, burst: 8}}", "burst: is less than lines_per"),
        ("collector: {timeout: 5s}", ":1 collector.endpoint: is missing"),
        ("collector: {endpoint: 'ftp://h'}", "only http:// and https://"),
        ("collector: {endpoint: 'http://'}", "not a URL"),
        ("collector: {endpoint: 'http://h:99999'}", "not a URL"),
        ("collector: {endpoint: http://h, timeout: 10 parsecs}", "not a duration"),
        ("collector: {endpoint: http://h, timeout: 0s}", "longer than zero"),
        ("collector: {endpoint: http://h, tls: {cert: /c}}", "cert and key go together"),
        ("collector: {endpoint: http://h, headers: {'a b': x}}", "not a header name"),
        ("sampling: {interval: 1ms}", "between 100ms and 1h"),
        ("spool: {size: big}", "not a size"),
        ("spool: {size: 10B}", "at least 64KiB"),
        ("budget: {cpu: 200%}", "above 0% and up to 100%"),
        ("budget: {cpu: 2}", "write a percentage with its % sign"),
        ("api: {listen: 0.0.0.0:8425}", "only loopback addresses"),
        ("api: {listen: '8425'}", "not an address"),
        ("api: {listen: 127.0.0.1:99999}", "not an address"),
        ("state_dir: here", "must be an absolute path"),
        ("instance: ../up", "must be 1 to 63 letters"),
        ("targets: [{name: a}]", "watches nothing"),
        ("targets: [{logs: [/a]}]", "targets[0].name: is missing"),
        ("targets: [{match: {pid: 1, port: 2}}]", "exactly one of pid, pidfile"),
        ("targets: [{match: {pid: 0}}]", "not a process id"),
        ("targets: [{match: {pid: one}}]", "not a process id"),
        ("targets: [{match: {command: '(?=x)'}}]", "not a pattern that RE2 understands"),
        ("targets: [{name: a, logs: []}, {name: a, logs: []}]", "name: same name as targets[0]"),
        ("targets: [{name: a, logs: [/a], slo: {latency: {fast: 1s}}}]", "not a quantile"),
        ("targets: [{name: a, logs: [/a], labels: {'1 2': x}}]", "not a label name"),
        ("state_dir: /${env:TICKBIRD_TEST_MISSING}", '"TICKBIRD_TEST_MISSING" is not set'),
        ("state_dir: ${file:/nowhere/at/all}", "cannot read /nowhere/at/all: No such file"),
        ("state_dir: ${file:relative}", "needs an absolute path"),
        ("state_dir: ${vault:x}", "unknown reference"),
        ("a: 1\n---\nb: 2", "one document only"),
        ("<<: {a: 1}", "merge keys are not supported"),
        ("state_dir: !!python/object/apply:os.system [ls]", "YAML tags"),
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not YAML"),
        ("a: \x00", "not YAML"),
        ("? [a]\n: b", "a key must be a word"),
        ("instance: *gone", "needs its anchor"),
        ("targets: &a [*a]", "needs its anchor"),
    ],
)  # fmt: skip
def test_row_57_a_fault_is_named_with_its_line_and_path(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in line for line in found), found
    assert all(line.startswith("tickbird.yaml:") for line in found)


def test_every_problem_is_reported_at_once_in_the_order_of_lines() -> None:
    found = problems("logs: {format: x}\ncolector: 1\nspool: {size: x}\ninstance: ''\n")
    assert [line.split()[0] for line in found] == [f"tickbird.yaml:{n}" for n in (1, 2, 3, 4)]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 30):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    assert "alias bomb" in problems("\n".join(lines))[0]


def test_deep_nesting_is_refused() -> None:
    assert "levels deep" in problems("[" * 50_000)[0]


def test_a_file_over_the_size_limit_is_refused(tmp_path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"# " + b"x" * (1024 * 1024))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load(path)


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"instance: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(tmp_path / "latin.yaml")
