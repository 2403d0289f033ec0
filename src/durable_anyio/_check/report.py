"""Findings as text for people and as JSON for programs."""

from __future__ import annotations

import json

from .source import Report

__all__ = ["as_json", "as_text", "summary"]

JSON_VERSION = 1
"""Raised when a field changes its meaning or goes away."""


def as_text(report: Report) -> str:
    """One finding in two lines: what and where, then what to use instead."""
    lines = [
        f"{found.file}:{found.line}:{found.column}: {found.rule}: {found.message}: {found.why}\n    {found.instead}"
        for found in report.findings
    ]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """An object with `version`, `files`, `workflows` and `findings`."""
    findings = [
        {
            "file": found.file,
            "line": found.line,
            "column": found.column,
            "end_line": found.end_line,
            "rule": found.rule,
            "message": found.message,
            "why": found.why,
            "instead": found.instead,
        }
        for found in report.findings
    ]
    return json.dumps({"version": JSON_VERSION, "files": report.files, "workflows": report.workflows, "findings": findings}, indent=2)


def summary(report: Report) -> str:
    """One line about the whole check."""
    what = f"{_count(report.workflows, 'workflow')} in {_count(report.files, 'file')}"
    return f"{_count(len(report.findings), 'finding')} in {what}" if report.findings else f"nothing found in {what}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
