"""An executor after the fork: confine, say so, then one frame after the other until the supervisor is gone."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass

from wasmtime import Engine

from registry.compile.wit_check import Reference
from schemas.errors import ErrorCode, FleetError
from schemas.guest_http import GuestResponse
from schemas.invocation import OutcomeKind
from worker.executor import confine
from worker.executor.channel import Channel, Closed, FrameTooLarge
from worker.executor.components import Components, LoadRefused
from worker.executor.engine import Ticker
from worker.executor.invoke import Invoker
from worker.executor.link import Codecs
from worker.executor.running import Scope
from worker.executor.values import Codec
from worker.frames import Done, Load, Loaded, LoadFailed, Ready, Run, ToExecutor


@dataclass(frozen=True)
class Heirloom:
    """What every executor inherits from the zygote: made once, shared by the fork."""

    engine: Engine
    reference: Reference
    codecs: Codecs
    handler: Codec
    fingerprint: str
    walls: tuple[str, ...]


def serve(heirloom: Heirloom, sock: socket.socket, *, number: int, parent: int) -> None:
    """The life of an executor; returns when the supervisor closes the socket or breaks the protocol."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    confine.close_descriptors({sock.fileno(), statm})
    channel, scope, ticker = Channel(sock, ToExecutor), Scope(), Ticker(heirloom.engine)
    walls = confine.confine(number=number, parent=parent, start_threads=ticker.start)
    may_open = any(wall.startswith("landlock") for wall in walls)
    components = Components(heirloom.engine, heirloom.reference, scope, heirloom.codecs, may_open=may_open)
    invoker = Invoker(heirloom.engine, components, scope, heirloom.handler, ticker=ticker, channel=channel, statm=statm)
    channel.send(Ready(engine_fingerprint=heirloom.fingerprint, walls=(*heirloom.walls, *walls)))
    try:
        _answer_frames(channel, components, invoker)
    except (Closed, FleetError):
        return


def _answer_frames(channel: Channel, components: Components, invoker: Invoker) -> None:
    """An answer that comes between two runs is to a question nobody waits for any more."""
    while True:
        message = channel.receive()
        if isinstance(message, Load):
            channel.send(_load(message, channel.take_descriptor(), components))
        elif isinstance(message, Run):
            _send(channel, invoker.run(message))


def _load(load: Load, descriptor: int, components: Components) -> Loaded | LoadFailed:
    began = time.monotonic()
    try:
        components.load(load.content_hash, descriptor)
    except LoadRefused as refused:
        return LoadFailed(content_hash=load.content_hash, detail=str(refused))
    finally:
        os.close(descriptor)
    return Loaded(content_hash=load.content_hash, milliseconds=(time.monotonic() - began) * 1000)


def _send(channel: Channel, done: Done) -> None:
    try:
        channel.send(done)
    except FrameTooLarge:
        channel.send(_without_response(done))


def _without_response(done: Done) -> Done:
    size = len((done.response or GuestResponse(status=500)).body or b"")
    return Done(
        invocation=done.invocation,
        kind=OutcomeKind.GUEST_FAILED,
        code=ErrorCode.GUEST_BAD_RESPONSE,
        message=f"the extension's response: body is {size} bytes, more than a worker passes on",
        cpu_ms=done.cpu_ms,
        memory_mb=done.memory_mb,
        fuel=done.fuel,
        host_calls=done.host_calls,
    )
