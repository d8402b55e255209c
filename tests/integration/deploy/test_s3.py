"""The embedded S3 server is a real one: closed to strangers, conditional writes, data kept."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from deploy.embedded import s3
from deploy.embedded.s3 import S3Server


def _client(server: S3Server, *, secret_key: str | None = None):  # type: ignore[no-untyped-def]
    return get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret_key or server.secret_key,
    )


async def test_objects_are_written_once_kept_and_closed_to_strangers(tmp_path: Path) -> None:
    """Bundles are immutable and private, over a restart too."""
    async with s3.start(tmp_path / "s3") as server:
        async with _client(server) as client:
            await client.put_object(Bucket=server.bucket, Key="key", Body=b"first", IfNoneMatch="*")
            with pytest.raises(ClientError, match="PreconditionFailed"):
                await client.put_object(Bucket=server.bucket, Key="key", Body=b"second", IfNoneMatch="*")
        async with _client(server, secret_key="wrong") as stranger:
            with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
                await stranger.get_object(Bucket=server.bucket, Key="key")
        url = f"{server.endpoint}/{server.bucket}/key"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 403
        assert server.secret_key not in repr(server)

    async with s3.start(tmp_path / "s3") as again, _client(again) as client:
        stored = await client.get_object(Bucket=again.bucket, Key="key")
        assert await stored["Body"].read() == b"first"
