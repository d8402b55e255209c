"""Frames over a socketpair, however they are cut, and peers that send something else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from worker.frames import HEADER, Answer, Call, Note
from worker.supervisor.channel import Channel

Message = Call | Note | Answer


class End:
    """One end as a Channel, the other as a plain socket, and what came through."""

    def __init__(self, *, takes_descriptors: bool = False) -> None:
        ours, self.peer = socket.socketpair()
        self.messages: list[Message] = []
        self.closed: list[str] = []
        self.channel = Channel(
            ours,
            Message,
            on_message=self.messages.append,
            on_closed=self.closed.append,
            takes_descriptors=takes_descriptors,
        )


@pytest.fixture
async def end() -> Iterator[End]:
    made = End()
    yield made
    made.channel.close()
    made.peer.close()


def frame(message: Message) -> bytes:
    payload = codec.encode(message)
    return HEADER.pack(len(payload)) + payload


MESSAGES = st.lists(
    st.builds(Answer, ordinal=st.integers(0, 1_000), value=st.binary(max_size=2_000)), min_size=1, max_size=8
)


@given(MESSAGES, st.lists(st.integers(1, 700), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_frames_arrive_whole_and_in_order_however_they_are_cut(sent: list[Message], cuts: list[int]) -> None:
    """A read may end anywhere, in the middle of a header too."""

    async def run() -> list[Message]:
        end = End()
        data = b"".join(map(frame, sent))
        at = 0
        for number in range(len(data)):
            if at >= len(data):
                break
            size = cuts[number % len(cuts)]
            end.peer.sendall(data[at : at + size])
            at += size
            await asyncio.sleep(0)
        while len(end.messages) < len(sent):
            await asyncio.sleep(0)
        end.channel.close()
        end.peer.close()
        return end.messages

    assert asyncio.run(run()) == sent


@given(st.binary(min_size=1, max_size=400))
@settings(max_examples=150, deadline=None)
def test_bytes_that_are_no_frames_end_the_channel_once_or_wait_for_more(data: bytes) -> None:
    """Nothing a peer sends raises in the loop; what is too long or not of ours closes the channel."""

    async def run() -> tuple[list[str], list[dict[str, object]]]:
        broken: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        end = End()
        end.peer.sendall(data)
        end.peer.close()
        async with asyncio.timeout(5):
            while not end.closed:
                await asyncio.sleep(0)
        end.channel.close()
        return end.closed, broken

    closed, broken = asyncio.run(run())
    assert len(closed) == 1
    assert broken == []


async def test_what_the_kernel_does_not_take_at_once_is_sent_in_order(end: End) -> None:
    """A body larger than the socket's buffer, and messages behind it."""
    sent = [Answer(ordinal=number, value=os.urandom(1_500_000)) for number in range(3)]
    for message in sent:
        end.channel.send(message)
    reading = asyncio.to_thread(_read_exactly, end.peer, sum(len(frame(message)) for message in sent))

    assert await reading == b"".join(map(frame, sent))


async def test_a_descriptor_travels_beside_its_message() -> None:
    """And only where it is expected: elsewhere the kernel drops it."""
    taking, plain = End(takes_descriptors=True), End()
    read, write = os.pipe()
    try:
        for end in (taking, plain):
            socket.send_fds(end.peer, [frame(Answer(ordinal=1, value=None))], [write])
            while not end.messages:
                await asyncio.sleep(0)
        (received,) = taking.channel.take_descriptors(1)
        os.write(received, b"x")
        os.close(received)

        assert os.read(read, 1) == b"x"
        assert plain.channel.take_descriptors(1) == []
    finally:
        os.close(read)
        os.close(write)
        for end in (taking, plain):
            end.channel.close()
            end.peer.close()


def _read_exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += peer.recv(size - len(data))
    return bytes(data)
