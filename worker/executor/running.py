"""One invocation while its guest runs: what it may still do, and its line to the supervisor.

Owns the counts that end with the call (host calls, log bytes, ordinals) and the wait for an answer. Grants and
limits come in the `Run` frame and are only read here.
"""

from __future__ import annotations

import time
from typing import Any

from schemas.invocation import MAX_HOST_CALLS
from worker.executor import limits
from worker.executor.channel import Channel, FrameTooLarge
from worker.frames import Answer, Call, Note, Run


class Running:
    """The state of one call. `failure`: for the log, what went wrong on our side: the type of an exception, a text.

    `handles`: what the guest's WASI handles stand for, by number; it lives as long as the store.
    """

    def __init__(self, run: Run, channel: Channel, handles: dict[int, tuple[str, Any]]) -> None:
        self.run = run
        self.handles = handles
        self.host_calls = 0
        self.failure: str | None = None
        self._unfinished: dict[str, bytes] = {}
        self._channel = channel
        self._ordinal = 0
        self._log_bytes = 0
        self._metrics = 0
        self._warned: set[tuple[str, str]] = set()

    def seconds_left(self) -> float:
        return self.run.deadline - time.monotonic()

    def count_host_call(self) -> bool:
        """False once the invocation has used up its host calls."""
        self.host_calls += 1
        return self.host_calls <= MAX_HOST_CALLS

    def count_metric(self) -> int:
        """How many metric calls the guest has made, this one included."""
        self._metrics += 1
        return self._metrics

    def ask(self, interface: str, function: str, arguments: list[Any]) -> Answer | None:
        """Ask the platform and wait, at most until the deadline; None when no answer came or none could be asked.

        An answer to an earlier question of this invocation, given up on, is passed over.
        """
        self._ordinal += 1
        call = Call(ordinal=self._ordinal, interface=interface, function=function, arguments=arguments)
        try:
            self._channel.send(call)
        except FrameTooLarge:
            return None
        while True:
            message = self._channel.receive(until=self.run.deadline)
            if message is None or (isinstance(message, Answer) and message.ordinal == call.ordinal):
                return message

    def note(self, interface: str, function: str, arguments: list[Any]) -> None:
        """Tell the platform something without an answer."""
        self._channel.send(Note(interface=interface, function=function, arguments=arguments))

    def log(self, interface: str, function: str, text: str) -> None:
        """One line for the live log, cut to its limit; over the limit of the invocation it is dropped.

        A cut line keeps one character more than a line may have, and the total one line more, so that the
        supervisor, which applies the same limits, sees that something is missing and says so.
        """
        if self._log_bytes > limits.LOG_BYTES:
            return
        line = cut(text, limits.LOG_LINE_BYTES)
        self._log_bytes += len(line.encode())
        self.note(interface, function, [line])

    def write(self, stream: str, data: bytes) -> None:
        """Bytes the guest wrote to stdout or stderr: whole lines are logged, the rest waits for its end."""
        *lines, rest = (self._unfinished.get(stream, b"") + data).split(b"\n")
        if len(rest) > limits.LOG_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._unfinished[stream] = rest
        for line in lines:
            self.log(stream, "line", line.decode("utf-8", "replace"))

    def finish_lines(self) -> None:
        """Log what the guest wrote without a newline."""
        for stream, rest in self._unfinished.items():
            if rest:
                self.log(stream, "line", rest.decode("utf-8", "replace"))
        self._unfinished.clear()

    def warn(self, what: str, why: str) -> None:
        """The reason behind a refusal that the guest's interface has no word for; each once per invocation."""
        if (what, why) not in self._warned:
            self._warned.add((what, why))
            self.log("logging", "log-warn", f"{what}: {why}")


class Scope:
    """Which invocation host functions act for: the one that runs now, if any. One per executor process."""

    def __init__(self) -> None:
        self.running: Running | None = None

    def current(self) -> Running:
        if self.running is None:
            raise RuntimeError("a host function was called outside an invocation")
        return self.running


def cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8 and the one character after them, never part of a character."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    kept = data[:size].decode("utf-8", "ignore")
    return kept + text[len(kept) : len(kept) + 1]
