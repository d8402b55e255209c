"""What one target of a fuzz run did: inputs, what was accepted, what was refused and why, what went wrong.

Owns the numbering of inputs, their randomness and the files of failing ones. An input is a function of seed, target
and number alone, so `--seed S --from N --count 1` makes one again.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FAILURES = Path(__file__).resolve().parents[2] / ".cache" / "fuzz" / "failures"
MAX_KEPT = 100
MAX_SHOWN, MAX_SHOWN_CHARACTERS = 10, 400


@dataclass(frozen=True)
class Plan:
    """How much of a target to run: `count` inputs from number `first` on, or less when `seconds` are over."""

    seed: int
    count: int
    first: int = 0
    seconds: float = float("inf")


@dataclass
class Report:
    """Counts of one target. `accepted` and `refused` by what they were told; `failures` are sentences."""

    target: str
    plan: Plan
    inputs: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    took_seconds: float = 0.0
    _number: int = 0

    def inputs_of(self) -> Iterator[random.Random]:
        """The randomness of each input, in order, while the plan lasts."""
        started = time.monotonic()
        for number in range(self.plan.first, self.plan.first + self.plan.count):
            if time.monotonic() - started > self.plan.seconds:
                break
            self._number = number
            self.inputs += 1
            yield random.Random(f"{self.plan.seed}:{self.target}:{number}")
        self.took_seconds = time.monotonic() - started

    def fail(self, what: str, data: bytes) -> None:
        """Note a broken promise; keep the input that broke it, and beside it all of `what`."""
        file = FAILURES / f"{self.target}-{self.plan.seed}-{self._number}.bin"
        if len(self.failures) < MAX_KEPT:
            FAILURES.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.with_suffix(".txt").write_text(what)
        self.failures.append(f"input {self._number} ({file}): {what.strip().splitlines()[-1][:MAX_SHOWN_CHARACTERS]}")

    @contextmanager
    def catching(self, data: bytes) -> Iterator[None]:
        """Whatever the code under test lets out is a failure of this input."""
        try:
            yield
        except Exception:
            self.fail(traceback.format_exc(), data)

    def lines(self) -> list[str]:
        """For a person: one line of counts, then the failures."""
        shown = self.failures[:MAX_SHOWN]
        more = len(self.failures) - len(shown)
        return [
            f"{self.target}: {self.inputs} inputs in {self.took_seconds:.1f} s, seed {self.plan.seed}, "
            f"accepted {self.accepted.total()} ({_counts(self.accepted)}), "
            f"refused {self.refused.total()} ({_counts(self.refused)}), failures {len(self.failures)}",
            *(f"  FAILURE {text}" for text in shown),
            *([f"  and {more} more failures"] if more else []),
        ]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counter.most_common()) or "-"
