"""The same shop on Hypercorn and trio. Here the program owns its main function, and the worker is one more task of its nursery.

On SIGTERM Hypercorn takes no new requests and lets the open ones finish; then the worker stops.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from routes import routes
from starlette.applications import Starlette
from workflows import make_worker

from durable_anyio import Client

DATABASE = os.environ.get("SHOP_DATABASE", "sqlite:shop.db")


async def terminated() -> None:
    """Returns when the process is asked to stop."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            return


async def main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ.get('PORT', '8000')}"]
    config.graceful_timeout = 30  # longer than a request waits
    async with Client.connect(DATABASE) as client, trio.open_nursery() as nursery:

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Client]]:
            yield {"client": client}  # the requests find it as `request.state.client`

        worker = make_worker(client)
        await nursery.start(worker.run)  # a worker that fails cancels the nursery, hence the server
        await serve(Starlette(routes=routes, lifespan=lifespan), config, shutdown_trigger=terminated)
        await worker.shutdown()


if __name__ == "__main__":
    trio.run(main)
