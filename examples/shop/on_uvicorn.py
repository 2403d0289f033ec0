"""The shop as a Starlette application on uvicorn, hence asyncio. The worker lives in a task group of the application's lifespan.

On SIGTERM uvicorn takes no new requests, lets the open ones finish, and then ends the lifespan: only then does the worker stop, so that
a request that waits for a workflow gets its answer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from routes import routes
from starlette.applications import Starlette
from workflows import make_worker

from durable_anyio import Client

DATABASE = os.environ.get("SHOP_DATABASE", "sqlite:shop.db")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Client]]:
    async with Client.connect(DATABASE) as client, anyio.create_task_group() as service:
        worker = make_worker(client, on_fatal_error=stop_service)
        await service.start(worker.run)
        yield {"client": client}  # the requests find it as `request.state.client`
        await worker.shutdown()


def stop_service(error: BaseException) -> None:
    """A service that cannot work must not go on taking orders: uvicorn alone would not notice."""
    signal.raise_signal(signal.SIGTERM)


app = Starlette(routes=routes, lifespan=lifespan)

if __name__ == "__main__":
    # Longer than a request waits; what is open then is cancelled.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=30)
