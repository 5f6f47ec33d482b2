import json
import math
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbird
from tickbird.histogram import FINE_BOUNDS, index_of
from tickbird.runtimes.python.tickbird_measure import Spread, read_bounds

RUNTIMES = Path(tickbird.__file__).parent / "runtimes"


def test_the_python_probe_reads_the_edges_of_the_agent():
    assert tuple(read_bounds()) == FINE_BOUNDS


@given(st.lists(st.floats(min_value=0, max_value=120), min_size=1))
def test_the_python_probe_and_the_agent_sort_alike(values):
    spread = Spread(read_bounds())
    for value in values:
        spread.add(value)
    expected: dict[int, int] = {}
    for value in values:
        expected[index_of(value)] = expected.get(index_of(value), 0) + 1
    assert spread.hist == expected
    assert (spread.count, spread.min, spread.max) == (len(values), min(values), max(values))
    assert spread.sum == pytest.approx(sum(values))


@pytest.mark.node
def test_the_node_probe_and_the_agent_sort_alike():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js on PATH")
    edges = [f(e) for e in FINE_BOUNDS for f in (float, _above, _below)]
    numbers = random.Random(3)
    values = edges + [10 ** numbers.uniform(-7, 3) for _ in range(5000)] + [0.0]
    script = (
        f"const {{indexOf}} = require('{RUNTIMES}/node/fine.cjs');"
        "const values = JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify(values.map(indexOf)))"
    )
    done = subprocess.run(
        [node, "-e", script], input=json.dumps(values), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [index_of(value) for value in values]


def _above(edge: float) -> float:
    return math.nextafter(edge, math.inf)


def _below(edge: float) -> float:
    return math.nextafter(edge, 0)
