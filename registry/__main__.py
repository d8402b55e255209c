"""The registry process: `python -m registry`, all settings from the environment."""

from __future__ import annotations

import sys

from registry import app
from registry.settings import RegistrySettings
from service import environ, lifecycle, logging
from service.lifecycle import Stopping


async def main(stopping: Stopping) -> None:
    """Read the settings, build the process, run it until it is told to stop."""
    settings = environ.read(RegistrySettings)
    logging.setup("registry", settings.log)
    await app.run(settings, stopping)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
