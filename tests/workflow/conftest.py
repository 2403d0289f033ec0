"""What the tests of workflows share: runs driven by hand are closed with their test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .activations import close_all


@pytest.fixture(autouse=True)
def closed_runs() -> Iterator[None]:
    yield
    close_all()
