"""`make smoke`: create, build, publish, install, call, log, stop, each by the command a person would type."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALGA = Path(sys.executable).with_name("alga")
START_SECONDS = 120
NAME = "com.example.smoke"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="alga-smoke-") as scratch, _fleet(Path(scratch) / "data") as data:
        project = Path(scratch) / "smoke"
        _alga("create", "extension", NAME, "--template", "javascript", "--publisher", "Alga Examples", "--dir", project)
        _alga("build", "--project", project)
        published = json.loads(_alga("publish", project, "--grant-all", "--json", "--data", data))
        print(f"published {published['extension']['name']} {published['version']['version']}")
        print(_alga("call", NAME, "/hello", "--data", data))
        _wait_for_log(data)
        _alga("uninstall", published["extension"]["id"], "--data", data)
        gone = _run("call", NAME, "/hello", "--data", data)
        assert gone.returncode == 1, gone
        assert "extension_not_installed" in gone.stdout, gone
    print("smoke: publish, install, call, log, uninstall, stop: all worked")
    return 0


@contextmanager
def _fleet(data: Path) -> Iterator[Path]:
    """`alga dev`, up when its keys are there and the gateway answers; Ctrl-C at the end must exit 0."""
    command = [str(ALGA), "dev", "--no-examples", "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait_until_up(process)
            yield data
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 0, f"alga dev ended with exit code {process.returncode}"


def _wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        print(line.rstrip())
        if line.startswith("Ctrl-C stops"):
            return
    raise AssertionError("alga dev ended before it was up")


def _wait_for_log(data: Path) -> None:
    """The ledger writes a moment after the answer."""
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        rows = json.loads(_alga("logs", "--json", "--data", data))["items"]
        if rows and rows[0]["status"] == "ok":
            print(f"logged {rows[0]['status']} {rows[0]['request_id']}")
            return
        time.sleep(0.2)
    raise AssertionError("the call is not in the execution log as ok")


def _alga(*arguments: object) -> str:
    done = _run(*arguments)
    if done.returncode != 0:
        raise AssertionError(f"alga {arguments[0]} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(ALGA), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


if __name__ == "__main__":
    sys.exit(main())
