"""`alga extension publish|install|uninstall`: the names the older command line had."""

from __future__ import annotations

import click

from cli.install import install
from cli.publish import publish
from cli.uninstall import uninstall


@click.group()
def extension() -> None:
    """Publish, install and uninstall; the same commands as `alga publish|install|uninstall`."""


for _command in (publish, install, uninstall):
    extension.add_command(_command)
