"""Run pytest inside a running event loop: `inside_host.py asyncio|trio PYTEST-ARGUMENTS…`.

Every step of the scheduler then happens as it does in a worker, in a callback of a live host that must stay hidden.
"""

from __future__ import annotations

import asyncio
import sys

import pytest
import trio


async def main() -> int:
    """Run the tests without ever giving control back to the host."""
    return int(pytest.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()) if sys.argv[1] == "asyncio" else trio.run(main))
