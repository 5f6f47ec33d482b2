import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tickbird.inject import gates
from tickbird.inject.gates import Facts, look, refusal

FINE = Facts(pid=7, start_ticks=1, age=100.0, state="S", inner_pid=7)

SHUT = {
    "zombie": (replace(FINE, state="Z"), "has ended"),
    "stopped": (replace(FINE, state="T"), "is stopped"),
    "gdb or strace": (replace(FINE, tracer=9), "process 9 debugs or traces it"),
    "process of another user": (replace(FINE, readable=False), "belongs to another user"),
    "a pid that is not Node": (replace(FINE, node=False), "not Node.js"),
    "another network namespace": (replace(FINE, same_network=False), "network namespace"),
    "--disable-sigusr1": (replace(FINE, options=("--disable-sigusr1",)), "--disable-sigusr1"),
    "--permission": (replace(FINE, options=("--permission",)), "--permission"),
    "--experimental-permission": (
        replace(FINE, options=("--experimental-permission",)), "--permission",
    ),
    "--inspect": (replace(FINE, options=("--inspect=0",)), "--inspect"),
    "--inspect-brk": (replace(FINE, options=("--inspect-brk",)), "--inspect"),
    "hidden address": (replace(FINE, options=("--inspect-publish-uid=stderr",)), "publish-uid"),
    "open to other machines": (replace(FINE, options=("--inspect-port=0.0.0.0:9229",)), "0.0.0.0"),
    "open debugger": (replace(FINE, listening={5: 9229}, own=frozenset({5})), "open already"),
    "SIGUSR1 not caught": (replace(FINE, catches=False), "SIGUSR1"),
    "own SIGUSR1 handler": (replace(FINE, own_handler=True), "handles SIGUSR1 itself"),
    "handler unseen": (replace(FINE, own_handler=None, unseen="no such luck"), "no such luck"),
    "port taken": (replace(FINE, listening={5: 9229}), "port 9229"),
    "its port taken": (
        replace(FINE, listening={5: 77}, options=("--inspect-port", "77")), "port 77",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "words"), SHUT.values(), ids=SHUT)
def test_a_shut_gate_has_its_reason_and_its_remedy(facts, words):
    found = refusal(facts)
    assert found is not None
    assert words in found.reason
    assert found.remedy


OPEN = {
    "plain": FINE,
    "any free port": replace(FINE, listening={5: 9229}, options=("--inspect-port=0",)),
    "another port": replace(FINE, listening={5: 9229}, options=("--debug-port=9300",)),
    "loopback": replace(FINE, options=("--inspect-port=127.0.0.1:9300",)),
    "servers of its own": replace(FINE, listening={5: 3000}, own=frozenset({5, 6})),
    "allowed inspector": replace(FINE, options=("--permission", "--allow-inspector")),
}


@pytest.mark.parametrize("facts", OPEN.values(), ids=OPEN)
def test_where_every_gate_is_open_nothing_is_refused(facts):
    assert refusal(facts) is None


def test_what_may_pass_is_tried_again_and_what_cannot_is_not():
    assert refusal(SHUT["port taken"][0]).again
    assert refusal(replace(FINE, catches=False, age=0.1)).again
    assert not refusal(SHUT["own SIGUSR1 handler"][0]).again
    assert not refusal(SHUT["SIGUSR1 not caught"][0]).again


def test_options_are_those_before_the_script_and_of_the_environment(tmp_path):
    script = tmp_path / "app.py"
    script.write_text("import time; print(1, flush=True); time.sleep(60)")
    environ = {**os.environ, "NODE_OPTIONS": "--inspect-port=9300 --no-warnings"}
    with subprocess.Popen(
        [sys.executable, "-B", str(script), "--inspect"], stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert gates.options(process.pid) == ("--inspect-port=9300", "--no-warnings", "-B")
        finally:
            process.kill()


def test_a_process_that_is_not_there_has_no_facts():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert look(process.pid) is None


def test_python_is_not_taken_for_node():
    facts = look(os.getpid())
    assert facts is not None
    assert facts.readable
    assert not facts.node
