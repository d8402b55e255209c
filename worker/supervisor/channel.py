"""One end of a socketpair as messages: frames out, frames in, descriptors beside them.

Owns framing, what waits to be written, and descriptors in transit; the meaning of a message is its owner's. A frame
leaves in the very call that sends it, on the loop's own thread: only what the kernel does not take at once waits.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from schemas import codec
from schemas.errors import Invalid
from worker.frames import HEADER, MAX_FRAME_BYTES

READ_BYTES = 256 * 1024
MAX_DESCRIPTORS = 16
_DESCRIPTOR_SPACE = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)


class Channel:
    """Messages of one union type over one socket. All methods are called on the loop's thread.

    `on_message` gets each decoded message, in order. `on_closed` gets, once, why the channel ended: the peer closed
    it, or sent what is no frame of ours. Descriptors that arrive are kept only where `takes_descriptors` is set;
    elsewhere the kernel drops them.
    """

    def __init__(
        self,
        sock: socket.socket,
        incoming: Any,
        *,
        on_message: Callable[[Any], None],
        on_closed: Callable[[str], None],
        takes_descriptors: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._socket, self._incoming = sock, incoming
        self._on_message, self._on_closed = on_message, on_closed
        self._takes_descriptors = takes_descriptors
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._unwritten: deque[memoryview] = deque()
        self._descriptors: deque[int] = deque()
        self._open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    def send(self, message: object, *, descriptor: int | None = None) -> None:
        """Send one message, with a descriptor beside it if given (the caller keeps its own). A closed channel
        takes nothing: its owner has heard of that by `on_closed`."""
        if not self._open:
            return
        payload = codec.encode(message)
        parts = (HEADER.pack(len(payload)), payload)
        if self._unwritten:
            self._unwritten.extend(memoryview(part) for part in parts)
            return
        sent = self._send_now(parts, descriptor)
        self._keep_rest(parts, sent)

    def take_descriptors(self, count: int) -> list[int]:
        """The oldest `count` descriptors that arrived, now the caller's; fewer if fewer came."""
        return [self._descriptors.popleft() for _ in range(min(count, len(self._descriptors)))]

    def close(self) -> None:
        """Close the socket without calling `on_closed`. Closing twice is fine."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._unwritten.clear()

    def _send_now(self, parts: Sequence[bytes], descriptor: int | None) -> int:
        beside = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            return self._socket.sendmsg(parts, beside)
        except (BlockingIOError, InterruptedError):
            if descriptor is not None:
                # Only sent while the peer is idle, when the kernel's buffer is empty: a full one is a broken peer.
                self._end("the peer takes no descriptor")
            return 0
        except OSError as error:
            self._end(f"write failed: {error.strerror}")
            return 0

    def _keep_rest(self, parts: Sequence[bytes], sent: int) -> None:
        if not self._open or sent == sum(map(len, parts)):
            return
        for part in parts:
            if sent < len(part):
                self._unwritten.append(memoryview(part)[sent:])
            sent = max(0, sent - len(part))
        self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        while self._unwritten:
            part = self._unwritten[0]
            try:
                sent = self._socket.send(part)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(f"write failed: {error.strerror}")
                return
            if sent < len(part):
                self._unwritten[0] = part[sent:]
                return
            self._unwritten.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"read failed: {error.strerror}")
            return
        if not data:
            self._end("the peer closed it")
            return
        try:
            self._take(data)
        except Invalid as error:
            self._end(f"the peer sent no frame of ours: {error.detail or error.message}")

    def _receive(self) -> bytes:
        if not self._takes_descriptors:
            return self._socket.recv(READ_BYTES)
        data, beside, _, _ = self._socket.recvmsg(READ_BYTES, _DESCRIPTOR_SPACE, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors.extend(numbers)
        return data

    def _take(self, data: bytes) -> None:
        if self._unread:
            self._unread += data
            used = self._frames(bytes(self._unread) if self._is_whole() else b"")
            del self._unread[:used]
        else:
            used = self._frames(data)
            if used < len(data):
                self._unread += memoryview(data)[used:]

    def _is_whole(self) -> bool:
        """Whether at least one frame is complete, asked before a long buffer is copied."""
        if len(self._unread) < HEADER.size:
            return False
        return len(self._unread) >= HEADER.size + self._length(self._unread, 0)

    def _frames(self, data: bytes) -> int:
        """Hand on every complete frame in `data`; how many bytes that were."""
        view, at = memoryview(data), 0
        while len(data) - at >= HEADER.size:
            end = at + HEADER.size + self._length(data, at)
            if end > len(data):
                break
            message = codec.decode(self._incoming, view[at + HEADER.size : end])
            at = end
            self._on_message(message)
            if not self._open:
                break
        return at

    @staticmethod
    def _length(data: bytes | bytearray, at: int) -> int:
        length: int = HEADER.unpack_from(data, at)[0]
        if length > MAX_FRAME_BYTES:
            raise Invalid(f"frame is {length} bytes, over the limit of {MAX_FRAME_BYTES}")
        return length

    def _end(self, reason: str) -> None:
        if self._open:
            self.close()
            self._on_closed(reason)
