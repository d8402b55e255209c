"""The list of commands, and how a failure is told: code, message, request id, next step."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from cli import output
from schemas.errors import FleetError

COMMANDS = {
    "build": "cli.build",
    "call": "cli.call",
    "create": "cli.create",
    "dev": "cli.dev",
    "doctor": "cli.doctor",
    "events": "cli.processes",
    "extension": "cli.extension",
    "gateway": "cli.processes",
    "grant": "cli.grant",
    "install": "cli.install",
    "key": "cli.key",
    "keygen": "cli.keygen",
    "logs": "cli.logs",
    "migrate": "cli.migrate",
    "new": "cli.create",
    "pack": "cli.pack",
    "publish": "cli.publish",
    "publisher": "cli.publisher",
    "registry": "cli.processes",
    "sign": "cli.sign",
    "tenant": "cli.tenant",
    "uninstall": "cli.uninstall",
    "verify": "cli.verify",
    "worker": "cli.processes",
}
"""Command -> the module with a click command of that name. Loaded when called: starting stays quick."""


class _Commands(click.Group):
    """Loads the one command that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alga-extension-fleet")
def alga() -> None:
    """Build, publish, install and run extensions; operate the fleet that runs them."""


def main(arguments: list[str] | None = None) -> Any:
    """Exit 0 when done, 2 for your mistake, 1 for ours."""
    try:
        return alga.main(arguments, standalone_mode=True)
    except FleetError as error:
        sys.exit(output.tell(error))
    except OSError as error:
        print(f"{error.filename or 'a file'}: {error.strerror or 'cannot be read or written'}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
