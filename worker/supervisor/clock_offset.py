"""How long a message was on its way, although no two clocks agree. Pure; the theory of late calls (D5).

A sender states what was left of its deadline and when it sent. Received minus sent is transit plus the offset of two
clocks. The smallest of a minute is taken for the offset alone, with a transit of nothing; what a message exceeds it
by is time it lost on its way. Received is read from the monotonic clock, so that a step of this machine's wall
clock looks like nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_SECONDS = 60
MAX_SENDERS = 1_024


class ClockOffsets:
    """Per sender, the smallest (received - sent) of the last minute."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Minimum] = OrderedDict()

    def excess_ms(self, sender: str, *, sent_unix_ms: int, received_ms: int) -> int:
        """Milliseconds this message lost on its way; it counts for the messages after it.

        `received_ms` is on this machine's monotonic clock.
        """
        minimum = self._senders.get(sender)
        if minimum is None:
            minimum = self._senders[sender] = _Minimum()
            if len(self._senders) > MAX_SENDERS:
                self._senders.popitem(last=False)
        self._senders.move_to_end(sender)
        difference = received_ms - sent_unix_ms
        return difference - minimum.add(difference, second=received_ms // 1000)


class _Minimum:
    """A sliding minimum: one entry a second at most, values rising from the oldest on."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int]] = deque()

    def add(self, value: int, *, second: int) -> int:
        """The smallest value of the window, this one included."""
        entries = self._entries
        while entries and entries[0][0] <= second - WINDOW_SECONDS:
            entries.popleft()
        while entries and entries[-1][1] >= value:
            entries.pop()
        if not entries or entries[-1][0] != second:
            entries.append((second, value))
        return entries[0][1]
