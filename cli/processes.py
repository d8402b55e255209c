"""`alga gateway|worker|events|registry`: becomes that process, so that signals and exit codes are its own."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click


def _become(module: str) -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own interpreter, no shell


@click.command()
def gateway() -> None:
    """Run a gateway; settings come from ALGA_ variables."""
    _become("gateway")


@click.command()
def worker() -> None:
    """Run a worker; settings come from ALGA_ variables."""
    _become("worker")


@click.command()
def registry() -> None:
    """Run a registry process; settings come from ALGA_ variables."""
    _become("registry")


@click.command()
def events() -> None:
    """Run an events process. Not built yet: fails loudly."""
    raise click.ClickException("the events process is not part of this version of the fleet")
