"""`alga dev` as a person runs it: a process with a data directory, and the commands typed beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
START_SECONDS = 180.0
STOP_SECONDS = 90.0
COMMAND_SECONDS = 240.0


@dataclass
class Talk:
    """What a process says on stderr, line by line, for whoever waits for a sentence."""

    lines: list[str] = field(default_factory=list)
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def listen(self, stream: Any) -> None:
        for line in stream:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, text: str, *, after: int = 0, seconds: float = 120.0) -> int:
        """The number of the first line behind `after` lines that contains `text`, plus one."""
        give_up = time.monotonic() + seconds
        with self.changed:
            while True:
                for number, line in enumerate(self.lines[after:], start=after + 1):
                    if text in line:
                        return number
                left = give_up - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"never said {text!r}:\n" + "\n".join(self.lines[after:]))
                self.changed.wait(left)


@dataclass(frozen=True)
class Dev:
    """A running `alga dev`. `gateway`, `tenant` and `api_key` are what it printed."""

    data: Path
    gateway: str
    tenant: str
    api_key: str
    talk: Talk

    @property
    def environment(self) -> dict[str, str]:
        """A shell in which `alga` is found and talks to this fleet."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALGA_")}
        path = f"{BIN}{os.pathsep}{inherited.get('PATH', '')}"
        return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "ALGA_DATA_DIRECTORY": str(self.data)}

    def run(self, *arguments: object, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
        """One command of `alga`, whatever its exit code."""
        return run_alga(*arguments, environment=self.environment, directory=directory)

    def alga(self, *arguments: object, directory: Path | None = None) -> str:
        """The standard output of a command that must work."""
        done = self.run(*arguments, directory=directory)
        assert done.returncode == 0, f"alga {arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: object, directory: Path | None = None) -> Any:
        return json.loads(self.alga(*arguments, "--json", directory=directory))


def run_alga(
    *arguments: object, environment: dict[str, str], directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "alga"), *(str(argument) for argument in arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def start_dev(data: Path, *options: str, echo: bool = False) -> Iterator[Dev]:
    """Up until the block ends; then Ctrl-C, upon which it must exit 0."""
    command = [str(BIN / "alga"), "dev", "--json", "--no-examples", "--data", str(data), *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ALGA_")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        talk = Talk()
        listener = threading.Thread(target=talk.listen, args=(process.stderr,), name="stderr of alga dev", daemon=True)
        listener.start()
        try:
            talk.wait_for("Ctrl-C stops", seconds=START_SECONDS)
            yield _described(process, data, talk)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)
            listener.join(5)
            if echo:
                print("\n".join(talk.lines))
    assert process.returncode == 0, f"alga dev ended with exit code {process.returncode}\n" + "\n".join(talk.lines)


def _described(process: subprocess.Popen[str], data: Path, talk: Talk) -> Dev:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            break
    told = json.loads(text)
    return Dev(data=data, gateway=told["gateway"], tenant=told["tenant"], api_key=told["api_key"], talk=talk)
