"""The fleet's own processes on one machine: what each is told by its environment, started, watched, stopped.

Owns their order and their settings. The engines are `stack.py`'s, what is published on them `alga dev`'s and the
tests'. A process that ends by itself is started again after a second, as an orchestrator would.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from deploy.embedded import ports, stack
from deploy.embedded.directory import write_private
from deploy.embedded.keys import Keys
from deploy.embedded.server import Command, Server
from deploy.embedded.stack import Stack
from deploy.nats.accounts import Role
from registry import migrate
from schemas.errors import Conflict, Unavailable

DATABASE = "postgres"
OPERATOR_KEY_FILE = "operator.key"
READY_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Options:
    """`slots` and `executors` 0: the worker's own defaults. `extra`: more ALGA_ settings by process name."""

    workers: int = 1
    gateway_port: int = 0
    slots: int = 0
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass
class Process:
    """One process of ours and where its probes answer."""

    name: str
    server: Server
    probe_url: str


@dataclass
class Fleet:
    """A running fleet. `operator_key` makes tenants, publishers and keys."""

    stack: Stack
    keys: Keys
    operator_key: str
    gateway_url: str
    processes: dict[str, Process]

    @property
    def workers(self) -> list[Process]:
        return [process for name, process in self.processes.items() if name.startswith("worker")]


def _silent(_line: str) -> None:
    return None


@asynccontextmanager
async def start(
    data_directory: Path, options: Options = Options(), *, on_progress: Callable[[str], None] = _silent
) -> AsyncIterator[Fleet]:
    """Engines, migrations, keys, then registry, workers and gateway, each ready before the next."""
    async with stack.start(data_directory, on_progress=on_progress) as engines, AsyncExitStack() as running:
        on_progress("preparing the database")
        operator_key = await _prepare(engines)
        keys = await asyncio.to_thread(Keys.load, engines.data_directory / "keys")
        fleet = Fleet(engines, keys, operator_key, "", {})
        gateway_port = _gateway_port(engines, options)
        fleet.gateway_url = f"http://{ports.HOST}:{gateway_port}"
        workers = [f"worker-{number}" for number in range(1, options.workers + 1)]
        # The registry process first: it makes the streams and buckets that the others need.
        for names in (["registry"], [*workers, "gateway"]):
            on_progress(f"starting {', '.join(names)}")
            await asyncio.gather(*(_start(fleet, name, options, gateway_port, running) for name in names))
        yield fleet


async def add_worker(fleet: Fleet, number: int, options: Options = Options()) -> Process:
    """One more worker, ready; the caller stops it."""
    process = _process(fleet, f"worker-{number}", options, 0)
    await process.server.start()
    return process


async def _start(fleet: Fleet, name: str, options: Options, gateway_port: int, running: AsyncExitStack) -> None:
    process = _process(fleet, name, options, gateway_port)
    running.push_async_callback(process.server.stop)
    await process.server.start()
    fleet.processes[name] = process


async def _prepare(engines: Stack) -> str:
    await migrate.migrate(
        engines.postgres_dsn(database=DATABASE),
        app_password=engines.postgres_password(migrate.APP),
        system_password=engines.postgres_password(migrate.SYSTEM),
    )
    file = engines.data_directory / OPERATOR_KEY_FILE
    with contextlib.suppress(Conflict):
        write_private(file, (await migrate.bootstrap(engines.postgres_dsn(database=DATABASE))).encode())
    try:
        return file.read_text()
    except OSError as error:
        raise Unavailable(f"{file} is gone: make an operator key by other means, or start with new data") from error


def _gateway_port(engines: Stack, options: Options) -> int:
    """The one asked for, else the one of last time if it is free: addresses tend to stay."""
    if options.gateway_port:
        return options.gateway_port
    hint = engines.data_directory / "gateway.port"
    last = int(hint.read_text()) if hint.exists() else 0
    (port,) = ports.pick(1, preferred=[last] if last else [])
    hint.write_text(str(port))
    return port


def _process(fleet: Fleet, name: str, options: Options, gateway_port: int) -> Process:
    role = name.partition("-")[0]
    directory = fleet.stack.data_directory / "processes" / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (probe_port,) = ports.pick(1)
    environment = {
        **_common(fleet, role, probe_port),
        **_particular(fleet, role, directory, gateway_port, options),
        **options.extra.get(role, {}),
        **options.extra.get(name, {}),
    }
    command = Command(
        name=name,
        argv=(sys.executable, "-m", role),
        directory=directory,
        log=fleet.stack.data_directory / "logs" / f"{name}.log",
        stop_signal=signal.SIGTERM,
        environment=environment,
    )
    probe_url = f"http://{ports.HOST}:{gateway_port if role == 'gateway' else probe_port}"
    ready_path = "/readyz" if role == "gateway" else "/ready"
    return Process(name, Server(command, _ready(probe_url + ready_path)), probe_url)


def _common(fleet: Fleet, role: str, probe_port: int) -> dict[str, str]:
    return {
        "ALGA_NATS_URL": fleet.stack.nats_url_for(Role(role)),
        "ALGA_STORE_URL": f"file://{fleet.stack.bundle_directory}",
        "ALGA_PROBE_PORT": str(probe_port),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }


def _particular(fleet: Fleet, role: str, directory: Path, gateway_port: int, options: Options) -> dict[str, str]:
    engines, keys = fleet.stack, fleet.keys
    app_dsn = engines.postgres_dsn(migrate.APP, DATABASE)
    match role:
        case "gateway":
            return {
                "ALGA_POSTGRES_DSN": app_dsn,
                "ALGA_TICKET_PRIVATE_KEY_FILE": str(keys.ticket_private),
                "ALGA_GATEWAY_PORT": str(gateway_port),
            }
        case "registry":
            return {
                "ALGA_POSTGRES_DSN": app_dsn,
                "ALGA_POSTGRES_SYSTEM_DSN": engines.postgres_dsn(migrate.SYSTEM, DATABASE),
                "ALGA_TICKET_PUBLIC_KEYS_FILE": str(keys.ticket_public),
                "ALGA_BUILD_PRIVATE_KEY_FILE": str(keys.build_private),
                "ALGA_SECRETS_KEK_FILE": str(keys.kek),
            }
        case _:
            slots = {"ALGA_WORKER_SLOTS": str(options.slots)} if options.slots else {}
            return {
                "ALGA_TICKET_PUBLIC_KEYS_FILE": str(keys.ticket_public),
                "ALGA_BUILD_PUBLIC_KEYS_FILE": str(keys.build_public),
                "ALGA_WORKER_CACHE_DIRECTORY": str(directory / "cache"),
                **slots,
            }


def _ready(url: str) -> Callable[[int], Awaitable[bool]]:
    async def is_ready(_pid: int) -> bool:
        # A starting process needs the core more than its probe does.
        await asyncio.sleep(READY_POLL_SECONDS)
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return is_ready
