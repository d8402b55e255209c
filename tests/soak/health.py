"""Memory, descriptors and processes of everything that runs, all along a soak: flat, or growing.

Growth is judged between the first and the last third of the samples of each part, without the first seconds of each
process: a part that is killed and restarted is compared by what it becomes each time. Slopes are printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass, field

import psutil

from tests.fleet import TestFleet

EVERY_SECONDS = 2.0
WARM_UP_SECONDS = 20.0
LEAST_SAMPLES = 12
MIB = 1024 * 1024
ALLOWED = {"memory": (1.3, 48.0), "descriptors": (1.25, 24.0), "processes": (1.3, 6.0)}
"""The last third may be so many times the first, and so many MiB, descriptors or processes more."""
GONE_SECONDS = 10.0


@dataclass(frozen=True)
class Sample:
    """One part at one moment, with all its children. Memory in MiB that is its own."""

    at: float
    memory: float
    descriptors: float
    processes: float


@dataclass
class Health:
    """Samples by part: our processes, NATS and Postgres."""

    fleet: TestFleet
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    _seen: dict[int, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, pid in self._roots().items():
                sample = await asyncio.to_thread(self._sample, pid)
                if sample is not None:
                    self.samples.setdefault(name, []).append(sample)
            await asyncio.sleep(EVERY_SECONDS)

    def lines(self) -> list[str]:
        """One line for each part: where it began, where it ended, how fast it grows."""
        lines = []
        for name, samples in self.samples.items():
            parts = [_described(measure, samples) for measure in ALLOWED]
            lines.append(f"health of {name}: {'; '.join(parts)} ({len(samples)} samples)")
        return lines

    def judge(self) -> list[str]:
        """What grew, and what was seen too rarely to tell."""
        broken = []
        for name, samples in self.samples.items():
            if len(samples) < LEAST_SAMPLES:
                broken.append(f"{name} was sampled {len(samples)} times only: nothing can be said of it")
                continue
            for measure, (factor, more) in ALLOWED.items():
                first, last = _thirds(measure, samples)
                if last > first * factor and last > first + more:
                    broken.append(f"{measure} of {name} grew from {first:.0f} to {last:.0f}")
        missing = self._roots().keys() - self.samples.keys()
        return broken + [f"{name} was never sampled" for name in missing]

    async def leftovers(self) -> list[str]:
        """Once the fleet is closed: processes of it, children included, that have not ended."""
        give_up = time.monotonic() + GONE_SECONDS
        while (left := self._left()) and time.monotonic() < give_up:
            await asyncio.sleep(0.2)
        print(f"processes: {len(self._seen)} seen, {len(left)} left over")
        return [f"process {pid} did not end" for pid in left]

    def _roots(self) -> dict[str, int]:
        stack = self.fleet.fleet.stack
        ours = {name: process.server.pid for name, process in self.fleet.fleet.processes.items()}
        return {**ours, "nats": stack.nats.server.pid, "postgres": stack.postgres.server.pid}

    def _sample(self, pid: int) -> Sample | None:
        """None while the process is young or gone."""
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            self._seen.update((process.pid, process.create_time()) for process in tree)
            if time.time() - root.create_time() < WARM_UP_SECONDS:
                return None
        except psutil.NoSuchProcess:
            return None
        memory = descriptors = 0.0
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += _own_memory(process) / MIB
                descriptors += process.num_fds()
        return Sample(time.monotonic(), memory, descriptors, len(tree))

    def _left(self) -> list[int]:
        left = []
        for pid, created in self._seen.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(pid)
        return left


def _own_memory(process: psutil.Process) -> float:
    """Bytes that would be free without it; where the kernel keeps that from us, what is resident."""
    try:
        return float(process.memory_full_info().uss)
    except (psutil.AccessDenied, OSError):
        return float(process.memory_info().rss)


def _described(measure: str, samples: list[Sample]) -> str:
    first, last = _thirds(measure, samples)
    unit = " MiB" if measure == "memory" else ""
    return f"{measure} {first:.0f} to {last:.0f}{unit} ({_per_minute(measure, samples):+.2f} a minute)"


def _thirds(measure: str, samples: list[Sample]) -> tuple[float, float]:
    values = [getattr(sample, measure) for sample in samples]
    third = max(1, len(values) // 3)
    return statistics.median(values[:third]), statistics.median(values[-third:])


def _per_minute(measure: str, samples: list[Sample]) -> float:
    if len(samples) < 2:
        return 0.0
    line = statistics.linear_regression([one.at for one in samples], [getattr(one, measure) for one in samples])
    return line.slope * 60
