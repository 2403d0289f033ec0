"""Runs one action on a connection."""

from __future__ import annotations

import argparse

import anyio

from durable_anyio.client import Client
from durable_anyio.exceptions import DurableError

from . import _schedules, _workflows

_ACTIONS = {"schedule": _schedules.ACTIONS, "workflow": _workflows.ACTIONS}


class ActionError(Exception):
    """What went wrong, in words for the person at the command line."""


def run(options: argparse.Namespace) -> None:
    """Connects, acts, prints.

    :raises ActionError: it was refused, or the workflow failed.
    """
    try:
        anyio.run(_act, options)
    except (DurableError, ValueError, TypeError) as error:
        raise ActionError(_words(error)) from error


def _words(error: BaseException | None) -> str:
    """An error and its causes: a failed workflow says why."""
    texts: list[str] = []
    while error is not None and len(texts) < 10:
        text = str(error)
        if text and text not in texts:
            texts.append(text)
        error = error.__cause__
    return ": ".join(texts)


async def _act(options: argparse.Namespace) -> None:
    async with Client.connect(options.target, namespace=options.namespace) as client:
        await _ACTIONS[options.command][options.action](client, options)
