"""The gateway process: `python -m gateway`, all settings from the environment."""

from __future__ import annotations

import sys

from gateway import app
from gateway.settings import GatewaySettings
from service import environ, lifecycle, logging
from service.lifecycle import Stopping


async def main(stopping: Stopping) -> None:
    """Read the settings, build the gateway, run it until it is told to stop."""
    settings = environ.read(GatewaySettings)
    logging.setup("gateway", settings.log)
    await app.run(settings, stopping)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
