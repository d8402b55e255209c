"""Target `components`: any bytes are refused at publish or run to a listed outcome, and nothing of ours crashes.

Each goes the way of a published one: structure, compile jail, types; what is accepted is called in a real worker with
real executors, through the front's own dispatcher.
"""

from __future__ import annotations

import asyncio
import random

import msgspec

from registry.compile import jail, structure
from registry.compile.jail import CompileResult, Jail
from schemas import bundle
from schemas.errors import ErrorCode, FleetError, Unprocessable
from schemas.ids import ContentHash, InstallId, content_hash_of, new_id
from schemas.install import Resolved
from schemas.invocation import Limits, Outcome, OutcomeKind
from tests import worker_stack
from tests.fuzz import compiling, component_bytes
from tests.fuzz.compiling import Compiler
from tests.fuzz.report import Report
from tests.worker_stack import Bench

TIMEOUT_MS = 300
ANSWER_SECONDS = 10.0
COMPARED_EVERY = 40
"""So many inputs go through the jail proper as well, which starts a new interpreter for each."""
ENDED_ITS_PROCESS = "ended its process"
LISTED: dict[OutcomeKind, frozenset[ErrorCode | None]] = {
    OutcomeKind.COMPLETED: frozenset({None}),
    OutcomeKind.GUEST_FAILED: frozenset({ErrorCode.GUEST_TRAP, ErrorCode.GUEST_BAD_RESPONSE}),
    OutcomeKind.LIMIT_EXCEEDED: frozenset(
        {ErrorCode.GUEST_MEMORY, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.GUEST_BAD_RESPONSE}
    ),
}
"""What a call may end as; a platform failure is none of them."""


async def run(report: Report) -> None:
    """Refused with a reason, or answered; the compile server, the worker and its zygote live to the end."""
    with compiling.start() as compiler:
        async with worker_stack.start_in_temporary_directory() as bench, bench.worker(slots=1, executors=2):
            honest = await bench.install("echo", limits=Limits(timeout_ms=TIMEOUT_MS, memory_mb=32))
            for rng in report.inputs_of():
                kind, data = await asyncio.to_thread(component_bytes.make, rng)
                with report.catching(data):
                    await _try(report, compiler, bench, honest, rng=rng, kind=kind, data=data)
            with report.catching(b""):
                await _check_alive(report, bench, honest)


async def _try(
    report: Report, compiler: Compiler, bench: Bench, honest: Resolved, *, rng: random.Random, kind: str, data: bytes
) -> None:
    compiled = await _compile(report, compiler, data, kind=kind)
    if report.inputs % COMPARED_EVERY == 0:
        await _compare_with_jail(report, data, accepted=compiled is not None)
    if compiled is None:
        return
    content_hash = await _publish(bench, data, compiled)
    install = msgspec.structs.replace(honest, content_hash=content_hash, install=InstallId(new_id()))
    for body in (None, rng.randbytes(rng.choice((0, 10, 70_000)))):
        async with asyncio.timeout(ANSWER_SECONDS):
            outcome = await bench.call(install, f"/{rng.randrange(1000)}", body=body, timeout_ms=TIMEOUT_MS)
        _check_outcome(report, outcome, data, kind=kind)


async def _compile(report: Report, compiler: Compiler, data: bytes, *, kind: str) -> CompileResult | None:
    """None for what publish refuses. Structure is asked here first, as the jail's child does: it is pure and cheap."""
    stage = "structure"
    try:
        structure.check(data, memory_mb=jail.DEFAULT_MEMORY_MB)
        stage = "compile or types"
        return await asyncio.to_thread(compiler.compile, data)
    except Unprocessable as error:
        report.refused[f"{error.code} by {stage}"] += 1
        if error.code is not ErrorCode.BUNDLE_INVALID or not error.message:
            report.fail(f"{kind}: refused as {error.code}: {error.message}", data)
        return None


async def _compare_with_jail(report: Report, data: bytes, *, accepted: bool) -> None:
    try:
        await Jail().compile(data)
    except Unprocessable as error:
        if accepted:
            report.fail(f"the jail refuses what its forked child took: {error.message}", data)
        return
    if not accepted:
        report.fail("the jail takes what its forked child refused", data)


async def _publish(bench: Bench, data: bytes, compiled: CompileResult) -> ContentHash:
    content_hash = content_hash_of(data)
    record = bench.load_record(content_hash, compiled.cwasm)
    await bench.store.put(bundle.cwasm_key(bench.fingerprint, content_hash), compiled.cwasm, overwrite=True)
    await bench.store.put(bundle.load_record_key(bench.fingerprint, content_hash), record, overwrite=True)
    return content_hash


def _check_outcome(report: Report, outcome: Outcome, data: bytes, *, kind: str) -> None:
    name = outcome.code.value if outcome.code else f"status {outcome.response.status if outcome.response else None}"
    report.accepted[f"{kind} {name}"] += 1
    if outcome.code not in LISTED.get(outcome.kind, frozenset()):
        report.fail(f"{kind}: ended as {outcome.kind} {outcome.code}: {outcome.message}", data)
    if ENDED_ITS_PROCESS in outcome.message:
        report.fail(f"{kind}: took its executor down", data)


async def _check_alive(report: Report, bench: Bench, honest: Resolved) -> None:
    try:
        outcome = await bench.call(honest, "/after", body=b"still here")
    except FleetError as error:
        report.fail(f"after the run an honest guest is refused: {error.message}", b"")
        return
    if outcome.response is None or outcome.response.body != b"still here":
        report.fail(f"after the run an honest guest ends as {outcome}", b"")
