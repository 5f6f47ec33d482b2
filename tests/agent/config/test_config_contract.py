"""What the file means when it is right."""

import re
from pathlib import Path

import msgspec
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tickbird import config
from tickbird.cli import config as cli
from tickbird.config import describe, document
from tickbird.config.schema import Config
from tickbird.errors import ConfigError

WHOLE = """
instance: edge
service: {namespace: shop, environment: production}
collector: {endpoint: "http://127.0.0.1:4318/", timeout: 10s, tls: {ca: /ca.pem}}
api: {listen: "localhost:0", token_file: none}
targets:
  - name: checkout
    match: {command: "node .*checkout"}
    logs: ["/var/log/checkout/*.log"]
    http: {url: "http://127.0.0.1:3000/healthz"}
    loop: {stall_threshold: 250ms}
    slo: {availability: 99.9%, latency: {p99: 300ms, p99.9: 2}}
    labels: {team: payments, version: 1.20, on: yes}
recorder: {keep: 15m, memory: 8MiB}
spool: {size: 64MB}
budget: {cpu: 2%}
sampling: {interval: 500ms, export_interval: 10}
redact: {patterns: [default, "CUST-[0-9]{8}"], keys: [card_number]}
"""


def test_the_contract_is_read_into_seconds_bytes_and_ratios() -> None:
    read = config.parse(WHOLE)
    (target,) = read.targets
    assert read.collector is not None
    assert (read.collector.endpoint, read.collector.timeout) == ("http://127.0.0.1:4318", 10.0)
    assert read.api.listen == ("127.0.0.1", 0)
    assert str(read.api.listen) == "127.0.0.1:0"
    assert read.api.token_file == "none"
    assert target.http is not None
    assert target.http.interval == 10.0
    assert target.loop.stall_threshold == 0.25
    assert target.slo.availability == 0.999
    assert target.slo.latency == {"p99": 0.3, "p99.9": 2.0}
    assert target.labels == {"team": "payments", "version": "1.20", "on": "yes"}
    assert (read.recorder.keep, read.recorder.memory) == (900.0, 8 * 2**20)
    assert read.spool.size == 64_000_000
    assert read.budget.cpu == 0.02
    assert (read.sampling.interval, read.sampling.export_interval) == (0.5, 10.0)
    assert read.redact.patterns == ("default", "CUST-[0-9]{8}")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~", "collector:\ntargets:\n"])
def test_an_empty_file_is_the_default(text: str) -> None:
    assert config.parse(text) == config.default()


def test_a_rate_limit_is_off_by_default_and_its_burst_ten_seconds_worth() -> None:
    assert config.parse("").logs.rate_limit is None
    limits = [
        config.parse(f"logs: {{rate_limit: {{{keys}}}}}").logs.rate_limit
        for keys in ("lines_per_second: 100", "lines_per_second: 100, burst: 100")
    ]
    assert [limit and limit.burst_lines for limit in limits] == [1000, 100]


def test_endpoint_none_is_no_collector() -> None:
    assert config.parse("collector: {endpoint: none}").collector is None


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfinstance: a\n")
    assert config.load(tmp_path / "a.yaml").instance == "a"


def test_an_alias_stands_for_what_its_anchor_holds() -> None:
    read = config.parse(
        "targets:\n- {name: a, logs: [/a], labels: &l {team: x}}\n"
        "- {name: b, logs: [/b], labels: *l}"
    )
    assert read.targets[1].labels == {"team": "x"}


def test_a_dollar_brace_can_be_written_literally() -> None:
    read = config.parse("targets: [{name: a, match: {command: 'x$${1}'}}]")
    assert read.targets[0].match is not None
    assert read.targets[0].match.command == "x${1}"


def test_what_has_no_effect_yet_is_told_never_silent() -> None:
    read = config.parse(
        "targets: [{name: a, match: {pid: 1}, loop: {method: estimated}},\n"
        "          {name: b, match: {pid: 2}, loop: {method: trace}}]"
    )
    assert [line.split(" has no effect")[0] for line in read.warnings] == [
        "targets[0].loop.method: estimated",
    ]
    assert config.default().warnings == ()


@pytest.mark.parametrize("key", list(config.NOT_YET))
def test_every_key_told_to_have_no_effect_is_one_of_the_contract(key: str) -> None:
    assert key.partition("=")[0].replace("[]", "") in keys_of(Config)


def keys_of(kind: type, path: str = "") -> set[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(kind):
        if field.name == "warnings":
            continue
        at = f"{path}{field.name}"
        found.add(at)
        for part in structs_in(field.type):
            found |= keys_of(part, f"{at}.")
    return found


def structs_in(kind: object) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [one for part in getattr(kind, "__args__", ()) for one in structs_in(part)]


def keys_in(data: object, path: str = "") -> set[str]:
    if isinstance(data, list):
        return {key for one in data for key in keys_in(one, path)}
    if not isinstance(data, dict):
        return set()
    return {f"{path}{k}" for k in data} | {
        key for k, v in data.items() for key in keys_in(v, f"{path}{k}.")
    }


WHOLE_EXAMPLE = re.sub(r"^#(?! \S)", "", describe.EXAMPLE, flags=re.MULTILINE)
"""The example with its settings taken out of their comments, as its first lines say."""


def test_the_example_as_it_is_watches_what_there_is_and_needs_nothing() -> None:
    read = config.parse(describe.EXAMPLE)
    assert (read.collector, read.targets, read.warnings) == (None, (), ())
    assert read.state_dir == config.default().state_dir
    assert read.api == config.default().api


def test_the_example_holds_every_key_that_has_an_effect(monkeypatch) -> None:
    monkeypatch.setenv("TICKBIRD_SALT", "0123456789abcdef")
    read = config.parse(WHOLE_EXAMPLE)
    assert (len(read.targets), read.warnings) == (7, ())
    shown = keys_in(document.raw(WHOLE_EXAMPLE, "example"))
    assert keys_of(Config) - config.NOT_YET.keys() <= shown
    assert not config.NOT_YET.keys() & shown


def test_the_schema_is_closed_and_has_every_key() -> None:
    schema = describe.schema()
    parts = schema["$defs"]
    assert set(parts["Config"]["properties"]) == {
        field.name for field in msgspec.structs.fields(Config)
    } - {"warnings"}
    assert all(part["additionalProperties"] is False for part in parts.values())
    references = msgspec.json.encode(schema).decode().split('"$ref":"#/$defs/')[1:]
    assert {one.split('"')[0] for one in references} == set(parts)


TYPES = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def fits(value: object, node: dict, root: dict) -> bool:
    """As much of JSON Schema as the configuration's schema uses."""
    if "$ref" in node:
        return fits(value, root["$defs"][node["$ref"].split("/")[-1]], root)
    if choices := node.get("anyOf") or node.get("oneOf"):
        return any(fits(value, one, root) for one in choices)
    wanted = node.get("type", "string")
    wanted = wanted if isinstance(wanted, list) else [wanted]
    right_type = any(isinstance(value, TYPES[one]) for one in wanted)
    if not right_type or value not in node.get("enum", [value]):
        return False
    if isinstance(value, list):
        return all(fits(one, node["items"], root) for one in value)
    if isinstance(value, dict):
        known = node.get("properties", {})
        rest = node.get("additionalProperties")
        return set(node.get("required", ())) <= set(value) and all(
            fits(one, known[key], root) if key in known else bool(rest) and fits(one, rest, root)
            for key, one in value.items()
        )
    return not isinstance(value, str) or re.search(node.get("pattern", ""), value) is not None


def test_the_schema_takes_the_example_and_refuses_what_the_loader_refuses() -> None:
    schema = describe.schema()
    assert fits(yaml.safe_load(describe.EXAMPLE), schema, schema)
    assert fits(yaml.safe_load(WHOLE_EXAMPLE), schema, schema)
    for wrong in (
        "colector: {}",
        "logs: {format: jsn}",
        "redact: {patterns: all}",
        "collector: {timeout: 5s}",
        "collector: {endpoint: 'ftp://h'}",
        "targets: {}",
        "spool: {size: [1]}",
    ):
        assert not fits(yaml.safe_load(wrong), schema, schema), wrong
        with pytest.raises(ConfigError):
            config.parse(wrong)


@pytest.fixture
def tickbird(capsys):
    """Runs a ``config`` command in this process; gives its exit code and what it printed."""
    command = typer.main.get_command(cli.GROUP)

    def run(*words: str) -> tuple[int, str]:
        try:
            code = command(list(words), standalone_mode=False)
        except ConfigError as error:
            return error.exit_code, str(error)
        return code or 0, capsys.readouterr().out

    return run


def test_check_says_what_would_be_watched(tickbird, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WHOLE)
    code, out = tickbird("check", str(tmp_path / "a.yaml"))
    assert code == 0
    assert "target checkout: command node .*checkout, logs /var/log/checkout/*.log" in out
    (tmp_path / "a.yaml").write_text("colector: {}")
    assert tickbird("check", str(tmp_path / "a.yaml"))[0] == 78


def test_check_shows_no_key_of_an_address(tickbird, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TICKBIRD_TEST_KEY", "hunter2")
    url = "http://127.0.0.1:1/m?key=${env:TICKBIRD_TEST_KEY}"
    (tmp_path / "a.yaml").write_text(f'targets: [{{name: a, scrape: {{url: "{url}"}}}}]')
    code, out = tickbird("check", str(tmp_path / "a.yaml"))
    assert (code, "scrape http://127.0.0.1:1/m" in out, "hunter2" in out) == (0, True, False)


def test_check_warns_of_what_has_no_effect(tickbird, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("targets: [{match: {pid: 1}, loop: {method: estimated}}]")
    said = tickbird("check", str(tmp_path / "a.yaml"))[1]
    assert "targets[0].loop.method: estimated has no effect" in said


def test_check_warns_of_named_files_that_are_not_here(tickbird, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "a.yaml").write_text(
        f"collector: {{endpoint: 'https://h', tls: {{ca: {tmp_path}/ca.pem,"
        f" cert: {tmp_path}/no.pem, key: {tmp_path}/ca.pem}}}}\n"
        f"api: {{token_file: {tmp_path}/none/token}}\n"
    )
    code, out = tickbird("check", str(tmp_path / "a.yaml"))
    warned = [line.strip() for line in out.splitlines() if "warning:" in line]
    assert code == 0
    assert warned == [
        f"warning: collector.tls.cert: {tmp_path}/no.pem does not exist here",
        f"warning: api.token_file (its folder): {tmp_path}/none does not exist here",
    ]


def test_a_file_in_another_encoding_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"instance: caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8") as refused:
        config.load(tmp_path / "a.yaml")
    assert "UTF-8" in (refused.value.remedy or "")


def test_the_printed_example_passes_the_check(tickbird, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(tickbird("example")[1])
    assert tickbird("check", str(tmp_path / "a.yaml"))[0] == 0
    assert msgspec.json.decode(tickbird("schema")[1])["$ref"] == "#/$defs/Config"


TEXT = st.text(st.characters(codec=None), max_size=200)
WORDS = st.one_of(
    st.sampled_from(sorted(describe.EXAMPLE.split())),
    st.sampled_from("{}[]&*!|>-?:#\n'\"~"),
    st.sampled_from(["${env:", "${file:/", "<<", "null", "- ", ": "]),
)


@given(st.one_of(TEXT, st.lists(WORDS, max_size=40).map(" ".join)))
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    try:
        config.parse(text)
    except ConfigError as error:
        assert error.problems


KEYS = st.sampled_from([*keys_of(Config), "zz"]).map(lambda path: path.split(".")[-1])
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, DATA, max_size=5))
def test_any_data_is_a_configuration_or_a_config_error(data: object) -> None:
    text = msgspec.json.encode(data).decode()
    try:
        config.parse(text)
    except ConfigError as error:
        assert error.problems
