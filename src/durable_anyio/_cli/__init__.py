"""The commands that talk to an engine or a service: `durable-anyio workflow …` and `durable-anyio schedule …`."""

from __future__ import annotations

from ._arguments import add_schedule_parser, add_workflow_parser

__all__ = ["add_schedule_parser", "add_workflow_parser"]
