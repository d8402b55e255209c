"""The worker process: `python -m worker`, all settings from the environment."""

from __future__ import annotations

import sys

from service import environ, lifecycle, logging
from service.lifecycle import Stopping
from worker import app
from worker.settings import WorkerSettings


async def main(stopping: Stopping) -> None:
    """Read the settings, build the worker, run it until it is told to stop."""
    settings = environ.read(WorkerSettings)
    logging.setup("worker", settings.log)
    await app.run(settings, stopping)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
