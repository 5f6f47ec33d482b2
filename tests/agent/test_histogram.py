import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.histogram import (
    FINE_BOUNDS,
    HTTP_BOUNDS,
    LOOP_BOUNDS,
    difference,
    distribution,
    index_of,
    merge,
    quantile,
)

durations = st.lists(st.floats(1e-6, 100), min_size=1, max_size=200)


def fine(values):
    return merge({index_of(value): 1} for value in values)


def test_the_fine_scale_contains_every_published_bound():
    assert set(HTTP_BOUNDS) | set(LOOP_BOUNDS) <= set(FINE_BOUNDS)
    assert list(FINE_BOUNDS) == sorted(FINE_BOUNDS)


def test_neighbouring_edges_are_at_most_twelve_percent_apart():
    ratios = [b / a for a, b in itertools.pairwise(FINE_BOUNDS)]
    assert max(ratios) < 1.1201


@given(durations)
def test_rebucketing_to_published_bounds_is_exact(values):
    result = distribution(fine(values), HTTP_BOUNDS, sum(values))
    edges = [0.0, *HTTP_BOUNDS, float("inf")]
    expected = [
        sum(low < value <= high for value in values) for low, high in itertools.pairwise(edges)
    ]
    assert list(result.counts) == expected
    assert result.count == len(values)


@given(durations, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_value_at_its_rank(values, q):
    found = quantile(fine(values), q, max(values))
    ordered = sorted(values)
    rank = max(0, -(-len(values) * q // 1) - 1)
    exact = ordered[min(len(values) - 1, int(rank))]
    index = index_of(exact)
    low = FINE_BOUNDS[index - 1] if index else 0.0
    high = FINE_BOUNDS[index] if index < len(FINE_BOUNDS) else max(values)
    assert low * 0.999999 <= found <= high * 1.000001


def test_nothing_seen_has_no_quantile():
    assert quantile({}, 0.5) is None


def test_the_difference_of_two_totals_leaves_out_what_did_not_move():
    assert difference({1: 5, 2: 3, 3: 1}, {1: 5, 2: 1}) == {2: 2, 3: 1}


def test_the_overflow_bucket_takes_what_is_above_every_edge():
    assert index_of(FINE_BOUNDS[-1] + 1) == len(FINE_BOUNDS)
    assert quantile({len(FINE_BOUNDS): 1}, 1.0, 75.0) == pytest.approx(75.0)
