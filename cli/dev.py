"""`alga dev`: the whole fleet on one machine, the examples published and installed, until Ctrl-C.

With `--watch DIR` the project there is built, published and its install updated on every save.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from cli import connection, demo, output
from cli.connection import Connection
from cli.output import json_option, say
from deploy.embedded import processes
from deploy.embedded.processes import Fleet, Options
from schemas.errors import ErrorCode, FleetError

WATCH_TICK_MS = 500
"""How often the watcher returns without a change; only its first return matters."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Data directory; kept between runs [.data].")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Gateway port; 0: the one of last time, or a free one."
)
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option(
    "--watch", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Project to rebuild on save."
)
@click.option("--no-examples", is_flag=True, help="Do not publish the examples.")
@json_option
def dev(data: Path | None, port: int, workers: int, watch: Path | None, no_examples: bool, as_json: bool) -> None:
    """Start NATS, Postgres and the fleet on free ports, publish the examples for a demo tenant, stay up.

    With --json, address and key are one JSON object on standard output once everything is up.
    """
    directory = connection.data_directory(data)
    options = Options(workers=workers, gateway_port=port)
    asyncio.run(_run(directory, options, watch, examples=not no_examples, as_json=as_json))


async def _run(directory: Path, options: Options, watch: Path | None, *, examples: bool, as_json: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with processes.start(directory, options, on_progress=say) as fleet:
        keys = await demo.ensure(fleet)
        given = demo.connection_of(keys)
        work = asyncio.create_task(_publish(fleet, given, watch, examples=examples, as_json=as_json), name="publish")
        stopped = asyncio.create_task(stopping.wait(), name="wait for a signal")
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        stopped.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        say("stopping")
    say("stopped")


async def _publish(fleet: Fleet, given: Connection, watch: Path | None, *, examples: bool, as_json: bool) -> None:
    """What there is to publish, then the watch; ends when it is cancelled."""
    published = await demo.publish_examples(fleet, given) if examples else {}
    _welcome(fleet, given, published)
    if as_json:
        _describe(fleet, given)
    if watch is None:
        await asyncio.Event().wait()
    else:
        await _watch(given, watch)


async def _watch(given: Connection, directory: Path) -> None:
    """Publish now and after every save, those during a build included. A failed build is told and changes nothing."""
    from watchfiles import DefaultFilter, awatch

    seen = False
    saved = DefaultFilter(ignore_dirs=(*DefaultFilter.ignore_dirs, "dist"))
    # The first return, with changes or without, means that the watcher sees what is saved from now on.
    async for changes in awatch(directory, watch_filter=saved, yield_on_timeout=True, rust_timeout=WATCH_TICK_MS):
        if changes or not seen:
            seen = True
            await _republish(given, directory)


async def _republish(given: Connection, directory: Path) -> None:
    try:
        answer = await demo.publish_project(given, directory, settings={})
    except FleetError as error:
        if error.code is ErrorCode.VERSION_EXISTS:
            say(f"watching {directory}: these very bytes are published already")
            return
        output.tell(error)
        say(f"watching {directory}: not published, the version before goes on running")
        return
    except OSError as error:
        say(f"watching {directory}: not published: {error.filename}: {error.strerror}")
        return
    name, version = answer["extension"]["name"], answer["version"]["version"]
    say(f"watching {directory}: {name} {version} runs now")


def _welcome(fleet: Fleet, given: Connection, published: dict[str, Any]) -> None:
    assert given.dev is not None
    say("")
    say(f"gateway   {fleet.gateway_url}")
    say(f"tenant    {given.dev.tenant}")
    say(f"API key   {given.dev.tenant_key}")
    for example in published.values():
        name = example["extension"]["name"]
        url = f"{fleet.gateway_url}/api/ext/{name}/hello"
        say(f"try       curl -H 'x-api-key: {given.dev.tenant_key}' {url}")
    say("Ctrl-C stops everything; data stays in " + str(fleet.stack.data_directory))


def _describe(fleet: Fleet, given: Connection) -> None:
    assert given.dev is not None
    described = {"gateway": fleet.gateway_url, "tenant": given.dev.tenant, "api_key": given.dev.tenant_key}
    output.emit({**described, "data": str(fleet.stack.data_directory)}, as_json=True)
