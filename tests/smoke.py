"""`make smoke`: create, build, publish, install, call, log, stop, each by the command a person would type."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.dev_process import Dev, start_dev

NAME = "com.example.smoke"
LOG_SECONDS = 15.0


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="alga-smoke-") as scratch,
        start_dev(Path(scratch) / "data", echo=True) as dev,
    ):
        _publish_call_uninstall(dev, Path(scratch) / "smoke")
    print("smoke: publish, install, call, log, uninstall, stop: all worked")
    return 0


def _publish_call_uninstall(dev: Dev, project: Path) -> None:
    dev.alga("new", NAME, "--template", "javascript", "--dir", project)
    dev.alga("build", "--project", project)
    published = dev.json("publish", project, "--grant-all")
    print(f"published {published['extension']['name']} {published['version']['version']}")
    print(dev.alga("call", NAME, "/hello"))
    print(f"logged {wait_for_log(dev, NAME)['request_id']}")
    dev.alga("uninstall", published["extension"]["id"])
    gone = dev.run("call", NAME, "/hello")
    assert gone.returncode == 2, gone
    assert "extension_not_installed" in gone.stdout, gone


def wait_for_log(dev: Dev, extension: str) -> dict[str, str]:
    """The newest row of the execution log once it is finished: the ledger writes a moment after the answer."""
    give_up = time.monotonic() + LOG_SECONDS
    while time.monotonic() < give_up:
        rows: list[dict[str, str]] = dev.json("logs", extension)["items"]
        if rows and rows[0]["status"] == "ok":
            return rows[0]
        time.sleep(0.2)
    raise AssertionError("the call is not in the execution log as ok")


if __name__ == "__main__":
    sys.exit(main())
