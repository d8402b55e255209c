"""The numbers a Store is given, and how log text is cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wasmtime import Engine, Func, Instance, Module, Store, Trap

from schemas.engine import EPOCH_TICK_SECONDS
from worker.executor import engine, limits
from worker.executor.running import cut


@pytest.mark.parametrize("deadline", [0.05, 0.15])
def test_the_epoch_stands_still_until_the_deadline_and_moves_after_it(deadline: float) -> None:
    """However late single ticks come, they are not counted towards the deadline."""
    built = engine.build_engine()
    ticker = engine.Ticker(built)
    ticker.start()
    began = time.monotonic()
    ticker.begin(began + deadline)
    interrupted = run_until_interrupted(built)
    ticker.end()

    assert deadline <= interrupted - began
    assert interrupted - began < deadline + 1.0


def test_a_ticker_that_was_parked_wakes_for_the_next_call() -> None:
    """It parks after a while without calls; the first call after that is bound like any other."""
    built = engine.build_engine()
    ticker = engine.Ticker(built)
    ticker.start()
    time.sleep(EPOCH_TICK_SECONDS * (engine.IDLE_TICKS_BEFORE_PARKING + 10))
    began = time.monotonic()
    ticker.begin(began + 0.05)

    assert run_until_interrupted(built) - began >= 0.05
    ticker.end()


def run_until_interrupted(built: Engine) -> float:
    """Run an endless loop armed as an invocation is; the instant at which it was interrupted."""
    store = Store(built)
    store.set_fuel(10**12)
    store.set_epoch_deadline(limits.EPOCHS)
    module = Module(built, '(module (func (export "f") (loop (br 0))))')
    endless = Instance(store, module, []).exports(store)["f"]
    assert isinstance(endless, Func)
    with pytest.raises(Trap, match="interrupt"):
        endless(store)
    return time.monotonic()


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_keeps_whole_characters_and_one_more_than_fits(text: str, size: int) -> None:
    """The supervisor sees by the extra character that a line was cut, and no character is ever split."""
    kept = cut(text, size)

    assert text.startswith(kept)
    assert kept == text or size < len(kept.encode()) <= size + 4
