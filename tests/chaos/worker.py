"""The process that is killed: a worker, which writes a line for each attempt of an activity. Arguments: target, directory, host."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import anyio

from durable_anyio import Client, Worker

from . import workflows
from .running import PATIENT, TASK_QUEUE


async def main(target: str, directory: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    workflows.directory = directory
    async with (
        Client.connect(target, retry_config=PATIENT, lazy=True) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[workflows.Order, workflows.Part], activities=[workflows.work]),
    ):
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), backend=sys.argv[3])
