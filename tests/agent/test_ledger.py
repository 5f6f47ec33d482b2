from __future__ import annotations

import threading

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tickbird.ledger import GONE, Final, Ledger, Totals


def test_what_is_read_is_queued_until_it_is_settled() -> None:
    ledger = Ledger()
    ledger.count_read("shop", "a.log", 10)
    assert ledger.totals("shop").queued == 10
    ledger.settle("shop", "a.log", Totals(delivered=6, refused={"bad": 1}, dropped={"empty": 2}))
    totals = ledger.totals("shop")
    assert (totals.read, totals.delivered, totals.queued) == (10, 6, 1)
    assert totals.refused == {"bad": 1}
    assert totals.dropped == {"empty": 2}
    assert totals.balanced()


def test_an_unknown_target_has_zeros() -> None:
    assert Ledger().totals("nobody") == Totals()


def test_what_comes_out_cannot_change_what_is_inside() -> None:
    ledger = Ledger()
    ledger.count_read("shop", "a.log", 1)
    ledger.totals("shop").refused["forged"] = 5
    ledger.sources()["a.log"].dropped["forged"] = 5
    assert ledger.balanced()


def test_two_targets_that_read_one_file_are_added_up_by_source() -> None:
    ledger = Ledger()
    ledger.count_read("shop", "a.log", 1)
    ledger.count_read("cart", "a.log", 2)
    assert ledger.sources()["a.log"].read == 3
    assert ledger.totals("cart").read == 2


def test_a_retired_source_stays_in_the_totals_of_its_target() -> None:
    ledger = Ledger()
    for day in range(5):
        ledger.count_read("shop", f"{day}.log", 2)
        ledger.settle("shop", f"{day}.log", Totals(delivered=2))
        ledger.retire("shop", f"{day}.log")
    assert ledger.totals("shop").delivered == 10
    assert list(ledger.sources()) == [GONE]


def test_a_restored_ledger_knows_all_but_what_was_queued() -> None:
    before = Ledger()
    before.count_read("shop", "a.log", 10)
    final = Totals(delivered=4, refused={"x": 1}, dropped={"y": 2}, redelivered=1, correlated=3)
    before.settle("shop", "a.log", final)
    after = Ledger()
    after.restore(msgspec.json.decode(msgspec.json.encode(before.final()), type=list[Final]))
    totals = after.totals("shop")
    assert (totals.read, totals.queued) == (7, 0)
    assert (totals.redelivered, totals.correlated) == (1, 3)
    assert after.balanced()


STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.integers(0, 50)), max_size=40
)


@given(STEPS, st.data())
def test_it_is_balanced_at_every_moment(
    steps: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    ledger = Ledger()
    for target, source, count in steps:
        ledger.count_read(target, source, count)
        assert ledger.balanced()
        queued = ledger.sources()[source].queued
        delivered = data.draw(st.integers(0, min(count, queued)))
        dropped = data.draw(st.integers(0, count - delivered)) if queued >= count else 0
        ledger.settle(target, source, Totals(delivered=delivered, dropped={"why": dropped}))
        assert ledger.balanced()
    assert ledger.totals("a").read + ledger.totals("b").read == sum(step[2] for step in steps)


def test_a_reader_never_sees_it_unbalanced() -> None:
    ledger = Ledger()
    done = threading.Event()

    def work() -> None:
        for _ in range(3000):
            ledger.count_read("shop", "a.log", 3)
            ledger.settle("shop", "a.log", Totals(delivered=2, dropped={"empty": 1}))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        assert ledger.totals("shop").balanced()
    thread.join()
