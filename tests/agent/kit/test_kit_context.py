import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.kit import context

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
FIT = set(string.ascii_letters + string.digits + "._-")


@given(st.sampled_from([*context.HEADERS, "traceparent"]), st.text())
def test_whatever_a_client_sends_the_id_is_fit_for_headers_and_logs(name, value):
    accepted = context.accept({name: value})
    assert 1 <= len(accepted) <= 128
    assert set(accepted) <= FIT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "a", "x-correlation-id": "b", "traceparent": PARENT}, "a"),
        ({"x-correlation-id": "b", "traceparent": PARENT}, "b"),
        ({"x-request-id": "not fit", "x-correlation-id": "b"}, "b"),
        ({"x-request-id": "x" * 129, "traceparent": PARENT}, TRACE),
        ({"traceparent": PARENT}, TRACE),
    ],
)
def test_request_id_goes_before_correlation_id_before_trace_id(headers, expected):
    assert context.accept(headers) == expected


@pytest.mark.parametrize(
    "parent",
    [
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        PARENT[:-1],
    ],
)
def test_a_traceparent_that_w3c_forbids_is_as_none(parent):
    assert context.accept({"traceparent": parent}) != TRACE


def test_two_requests_without_an_id_get_different_ones():
    assert context.accept({}) != context.accept({})
