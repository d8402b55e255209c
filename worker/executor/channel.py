"""Frames on a blocking socket: the executor's and the zygote's end of a socketpair.

Owns framing and descriptors in transit. One thread uses it. A closed socket is `Closed`, for an executor the order
to end.
"""

from __future__ import annotations

import array
import os
import select
import socket
import time
from collections import deque
from typing import Any, Final

from schemas import codec
from worker.frames import HEADER, MAX_FRAME_BYTES

READ_BYTES: Final = 256 * 1024
MAX_DESCRIPTORS: Final = 4
_BESIDE = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)


class Closed(Exception):
    """The other half is gone, or speaks something else."""


class FrameTooLarge(ValueError):
    """A message does not fit one frame; nothing was sent."""


class Channel:
    """Messages out as frames; messages of one union type in."""

    def __init__(self, sock: socket.socket, incoming: Any) -> None:
        sock.setblocking(True)
        self._socket, self._incoming = sock, incoming
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: object, *, descriptors: tuple[int, ...] = ()) -> None:
        """Raises FrameTooLarge before anything is sent, Closed when nobody reads."""
        payload = codec.encode(message)
        if len(payload) > MAX_FRAME_BYTES:
            raise FrameTooLarge(f"frame is {len(payload)} bytes, over the limit of {MAX_FRAME_BYTES}")
        data = HEADER.pack(len(payload)) + payload
        try:
            sent = socket.send_fds(self._socket, [data], list(descriptors)) if descriptors else self._socket.send(data)
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except OSError as error:
            raise Closed(error.strerror) from None

    def receive(self, *, until: float | None = None) -> Any:
        """The next message; None when the instant `until` (time.monotonic) passes first. Raises Closed."""
        while (end := self._frame_end()) is None:
            if until is not None and not self._poll.poll(max(0.0, until - time.monotonic()) * 1000):
                return None
            self._read()
        message = codec.decode(self._incoming, bytes(memoryview(self._buffer)[HEADER.size : end]))
        del self._buffer[:end]
        return message

    def has_message(self) -> bool:
        """Whether `receive` would answer without reading."""
        return self._frame_end() is not None

    def take_descriptor(self) -> int:
        """The oldest descriptor that arrived, now the caller's. Raises Closed if there is none."""
        if not self._descriptors:
            raise Closed("a frame came without its descriptor")
        return self._descriptors.popleft()

    def _frame_end(self) -> int | None:
        if len(self._buffer) < HEADER.size:
            return None
        length: int = HEADER.unpack_from(self._buffer)[0]
        if length > MAX_FRAME_BYTES:
            raise Closed(f"a frame of {length} bytes")
        end = HEADER.size + length
        return end if len(self._buffer) >= end else None

    def _read(self) -> None:
        try:
            data, beside, _, _ = self._socket.recvmsg(READ_BYTES, _BESIDE, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise Closed(error.strerror) from None
        for level, kind, content in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            self._drop_descriptors()
            raise Closed("the other half closed it")
        self._buffer += data

    def _drop_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())
