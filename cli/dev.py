"""`alga dev`: the whole fleet on one machine, the examples published and installed, until Ctrl-C.

With `--watch DIR` the project there is built, published and its install updated on every save.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from cli import connection, demo
from cli.connection import Connection
from cli.output import say
from deploy.embedded import processes
from deploy.embedded.processes import Fleet, Options
from schemas.errors import FleetError


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
def dev(data: Path | None, port: int, workers: int, watch: Path | None, no_examples: bool) -> None:
    """Start NATS, Postgres and the fleet on free ports, publish the examples for a demo tenant, stay up."""
    directory = connection.data_directory(data)
    options = Options(workers=workers, gateway_port=port)
    asyncio.run(_run(directory, options, watch, examples=not no_examples))


async def _run(directory: Path, options: Options, watch: Path | None, *, examples: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with processes.start(directory, options, on_progress=say) as fleet:
        keys = await demo.ensure(fleet)
        given = demo.connection_of(keys)
        work = asyncio.create_task(_publish(fleet, given, watch, stopping, examples=examples), name="publish")
        stopped = asyncio.create_task(stopping.wait(), name="wait for a signal")
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        stopped.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        say("stopping")
    say("stopped")


async def _publish(
    fleet: Fleet, given: Connection, watch: Path | None, stopping: asyncio.Event, *, examples: bool
) -> None:
    published = await demo.publish_examples(fleet, given) if examples else {}
    _welcome(fleet, given, published)
    if watch is None:
        await stopping.wait()
    else:
        await _watch(given, watch, stopping)


async def _watch(given: Connection, directory: Path, stopping: asyncio.Event) -> None:
    """Publish now and after every save. A failed build is told and changes nothing."""
    from watchfiles import DefaultFilter, awatch

    await _republish(given, directory)
    ignored = (*DefaultFilter.ignore_dirs, "dist")
    async for _ in awatch(directory, stop_event=stopping, watch_filter=DefaultFilter(ignore_dirs=ignored)):
        await _republish(given, directory)


async def _republish(given: Connection, directory: Path) -> None:
    try:
        answer = await demo.publish_project(given, directory, settings={})
    except FleetError as error:
        say(f"not published: {error.code}: {error.message}")
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
