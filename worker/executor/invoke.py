"""One call of a guest's handler: a Store, the limits, the call, how it ended.

Owns the order: limits before the first instruction, the store closed whatever happens, the clock looked at again
after the call (a host call can overrun and still return). A store is used once, unless the run grants `reuse`; one
that did not end with a response is never used again.
"""

from __future__ import annotations

import ctypes
import os
import time
from ctypes import byref, c_uint64
from typing import Any, Final

from wasmtime import Engine

from schemas.engine import MIB
from schemas.errors import ErrorCode
from schemas.guest_http import GuestResponse, problem_of_response
from schemas.invocation import OutcomeKind
from worker.executor import limits, native, traps
from worker.executor.channel import Channel
from worker.executor.components import Components, Loaded
from worker.executor.crossing import Crossing, TooLarge, Unfit
from worker.executor.engine import Ticker
from worker.executor.plans import VALUE_BYTES
from worker.executor.running import Running, Scope
from worker.executor.traps import Ending
from worker.executor.values import Codec
from worker.frames import Done, Run

MAX_REQUEST_BYTES: Final = 8 * MIB
MAX_DETAIL_CHARACTERS: Final = 500
MAX_IDLE_BYTES: Final = 512 * MIB
"""What an executor may hold before a call; more is a leak, and it ends with the call."""


class Guest:
    """One instance of a component in its own store."""

    def __init__(self, engine: int, loaded: Loaded, memory_mb: int) -> None:
        self.loaded, self.memory_mb = loaded, memory_mb
        self.calls = 0
        self.handles: dict[int, tuple[str, Any]] = {}
        self._function: native.Function | None = None
        self._store: int | None = native.store_new(engine, None, None)
        self.context: int = native.store_context(self._store) or 0
        limits.limit_store(self._store or 0, memory_mb)

    def handler(self) -> native.Function:
        """The handler of the instance, made now if there is none. Raises Trapped."""
        if self._function is None:
            instance, function = native.Instance(), native.Function()
            loaded = self.loaded
            error = native.instantiate(loaded.linkage.address, self.context, loaded.component, byref(instance))
            if error:
                raise Trapped(native.take_error(error))
            native.get_function(byref(instance), self.context, loaded.handler, byref(function))
            self._function = function
        return self._function

    def fuel_left(self) -> int:
        left = c_uint64()
        error = native.get_fuel(self.context, byref(left))
        if error:
            native.error_delete(error)
        return left.value

    def close(self) -> None:
        if self._store is not None:
            native.store_delete(self._store)
            self._store = None


class Trapped(Exception):
    """wasmtime returned an error; its text, from which only `traps` reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Invoker:
    """Runs one call at a time. `statm` is an open descriptor of /proc/self/statm."""

    def __init__(
        self,
        engine: Engine,
        components: Components,
        scope: Scope,
        handler: Codec,
        *,
        ticker: Ticker,
        channel: Channel,
        statm: int,
    ) -> None:
        self._engine = ctypes.cast(engine.ptr(), ctypes.c_void_p).value or 0
        self._components, self._scope, self._handler = components, scope, handler
        self._ticker, self._channel, self._statm = ticker, channel, statm
        self._kept: tuple[tuple[str, str | None, int], Guest] | None = None

    def run(self, run: Run) -> Done:
        """The call, whatever becomes of it. Raises Closed when the supervisor is gone."""
        loaded = self._components.get(run.content_hash)
        if loaded is None:
            return _done(run, Ending(OutcomeKind.PLATFORM_FAILED, ErrorCode.INTERNAL, "the module is not loaded"))
        if run.deadline <= time.monotonic():
            return _done(run, traps.late(run))
        guest, resident = self._guest(run, loaded), self._resident()
        running = Running(run, self._channel, guest.handles)
        self._scope.running = running
        cpu = time.thread_time()
        self._ticker.begin(run.deadline)
        try:
            ended = self._call(guest, running)
        finally:
            self._ticker.end()
            running.finish_lines()
            self._scope.running = None
        fuel = max(0, run.fuel - guest.fuel_left())
        memory_mb = max(0.0, (self._resident() - resident) / MIB)
        self._keep_or_close(run, guest, ended)
        return _done(
            run,
            ended,
            cpu_ms=(time.thread_time() - cpu) * 1000,
            memory_mb=memory_mb,
            fuel=fuel,
            host_calls=running.host_calls,
            detail=running.failure or "",
            recycle=self._components.are_too_many or resident > MAX_IDLE_BYTES,
        )

    def _call(self, guest: Guest, running: Running) -> GuestResponse | Ending:
        run = running.run
        try:
            limits.arm(guest.context, run)
            ended: GuestResponse | Ending = self._answer(guest, run)
        except Trapped as trapped:
            ended = traps.ending_of(trapped.text, run)
            if ended.recycle and running.failure is None:
                running.failure = traps.last_line(trapped.text)[:MAX_DETAIL_CHARACTERS]
        except (Unfit, TooLarge) as error:
            running.failure = str(error)
            ended = Ending(OutcomeKind.PLATFORM_FAILED, ErrorCode.INTERNAL, "the request does not fit the guest world")
        if running.seconds_left() < 0 and not (isinstance(ended, Ending) and ended.recycle):
            return traps.late(run)
        return ended

    def _answer(self, guest: Guest, run: Run) -> GuestResponse | Ending:
        function = guest.handler()
        guest.calls += 1
        crossing = Crossing(budget=MAX_REQUEST_BYTES)
        arguments = self._handler.lower_parameters([_request(run)], crossing)
        result = (ctypes.c_uint64 * (VALUE_BYTES // 8))()
        address = ctypes.addressof(result)
        error = native.call(byref(function), guest.context, arguments, 1, address, 1)
        if error:
            raise Trapped(native.take_error(error))
        try:
            return _checked(self._handler.lift_result(address, _response_crossing(run)), run)
        except TooLarge:
            return traps.bad_response(f"it is over the limit of {run.max_body_bytes} bytes")
        except Unfit:
            return traps.bad_response("it does not have its type")
        finally:
            native.value_delete(address)

    def _guest(self, run: Run, loaded: Loaded) -> Guest:
        """A fresh store, or the one kept for this install where `reuse` is granted."""
        kept, self._kept = self._kept, None
        if kept is not None:
            key, guest = kept
            if key == _reuse_key(run) and guest.loaded is loaded and guest.calls < run.reuse:
                return guest
            guest.close()
        return Guest(self._engine, loaded, run.memory_mb)

    def _keep_or_close(self, run: Run, guest: Guest, ended: GuestResponse | Ending) -> None:
        if run.reuse > guest.calls and isinstance(ended, GuestResponse):
            self._kept = (_reuse_key(run), guest)
        else:
            guest.close()

    def _resident(self) -> int:
        """Bytes of memory this process holds now."""
        return int(os.pread(self._statm, 64, 0).split()[1]) * _PAGE_BYTES


_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


_ANSWERED: Final = Ending(OutcomeKind.COMPLETED, None, "")


def _reuse_key(run: Run) -> tuple[str, str | None, int]:
    """State may pass between calls of one install only."""
    return run.content_hash, run.context.get("install_id"), run.memory_mb


def _request(run: Run) -> dict[str, Any]:
    request = run.request
    return {
        "context": run.context,
        "http": {
            "method": request.method,
            "url": request.url,
            "headers": [{"name": name, "value": value} for name, value in request.headers],
            "body": request.body,
        },
    }


def _response_crossing(run: Run) -> Crossing:
    return Crossing(budget=run.max_body_bytes + limits.MAX_RESPONSE_OVERHEAD_BYTES)


def _checked(value: dict[str, Any], run: Run) -> GuestResponse | Ending:
    headers = tuple((header["name"], header["value"]) for header in value["headers"])
    response = GuestResponse(status=value["status"], headers=headers, body=value["body"])
    problem = problem_of_response(response, limit=run.max_body_bytes)
    return response if problem is None else traps.bad_response(problem)


def _done(
    run: Run,
    ended: GuestResponse | Ending,
    *,
    cpu_ms: float = 0.0,
    memory_mb: float = 0.0,
    fuel: int = 0,
    host_calls: int = 0,
    detail: str = "",
    recycle: bool = False,
) -> Done:
    end = _ANSWERED if isinstance(ended, GuestResponse) else ended
    return Done(
        invocation=run.invocation,
        kind=end.kind,
        response=ended if isinstance(ended, GuestResponse) else None,
        code=end.code,
        message=end.message,
        cpu_ms=cpu_ms,
        memory_mb=memory_mb,
        fuel=fuel,
        host_calls=host_calls,
        recycle=recycle or end.recycle,
        detail=detail,
    )
