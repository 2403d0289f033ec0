"""A process with Temporal's Python SDK, one for all the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .workers import OfficialProcess


@pytest.fixture(scope="session")
def official() -> Iterator[OfficialProcess]:
    process = OfficialProcess()
    yield process
    process.close()
