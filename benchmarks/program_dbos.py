"""The same program on DBOS, its SQLite system database on the same device: `python benchmarks/program_dbos.py DIRECTORY SECONDS`.

Runs in an environment of its own, which has DBOS and AnyIO and need not have durable_anyio.
"""

from __future__ import annotations

from dbos import DBOS
from measure import ACTIVITIES, Figures, measure, run_program


async def peer(directory: str, seconds: float) -> Figures:
    """Steps take the place of activities."""
    config = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{directory}/dbos.sqlite",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)

    @DBOS.step()
    async def step(number: int) -> int:
        return number + 1

    @DBOS.workflow()
    async def noop_workflow(number: int) -> int:
        return number

    @DBOS.workflow()
    async def ten_workflow(number: int) -> int:
        for _ in range(ACTIVITIES):
            number = await step(number)
        return number

    DBOS.launch()

    async def noop() -> None:
        assert await (await DBOS.start_workflow_async(noop_workflow, 7)).get_result() == 7

    async def ten() -> None:
        assert await (await DBOS.start_workflow_async(ten_workflow, 7)).get_result() == 7 + ACTIVITIES

    try:
        return await measure(noop, ten, seconds)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    run_program(peer)
