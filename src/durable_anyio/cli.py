"""The command ``durable-anyio``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from ._cli import add_schedule_parser, add_workflow_parser

EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="durable-anyio", description="Durable workflows as structured concurrency.")
    parser.add_argument("--version", action="version", version=f"durable-anyio {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="hash a directory tree with a workflow that survives being killed",
        description="Hashes every file below DIRECTORY in a durable workflow and writes a manifest for 'sha256sum -c'. "
        "Kill it at any moment, start it again with the same command, and it goes on where it was.",
    )
    demo.add_argument("directory", nargs="?", metavar="DIRECTORY", help="the tree to hash (default: this Python's standard library)")
    demo.add_argument("--output", default="SHA256SUMS", metavar="FILE", help="the manifest (default: ./SHA256SUMS)")
    place = demo.add_mutually_exclusive_group()
    place.add_argument("--db", default="durable-demo.db", metavar="FILE", help="where the workflow lives (default: ./durable-demo.db)")
    place.add_argument("--target", metavar="HOST:PORT", help="a Temporal service to use instead of a file")
    demo.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="the event loop (default: asyncio)")
    demo.add_argument("--concurrency", type=_positive, default=16, metavar="N", help="files hashed at a time (default: 16)")
    check = commands.add_parser(
        "check",
        help="find in source what a workflow must not do",
        description="Reads modules, packages, files or directories, without running them, and reports calls and state that break a "
        "workflow's determinism. Exit code 0: nothing found, 1: findings, 2: something that cannot be checked. "
        "A comment '# durable: ignore[RULE]' silences a rule on its line; docs/checks.md has the rules.",
    )
    check.add_argument("targets", nargs="+", metavar="MODULE_OR_FILE", help="a module as in an import statement, a file or a directory")
    check.add_argument("--format", choices=["text", "json"], default="text", help="how findings are printed (default: text)")
    _add_replay(commands)
    server = commands.add_parser(
        "server",
        help="put an engine on a port, for other processes and other languages",
        description="Serves a database file to clients and workers of this machine: this package's (Client.connect('HOST:PORT')), the "
        "official SDKs and the 'temporal' command. Prints 'listening on HOST:PORT' when it is ready; SIGTERM and SIGINT stop it in order.",
    )
    server.add_argument("--db", required=True, metavar="FILE", help="where everything lives; ':memory:' keeps nothing")
    server.add_argument(
        "--listen",
        default="127.0.0.1:7233",
        metavar="HOST:PORT",
        help="on this machine (default: 127.0.0.1:7233); port 0: a free one",
    )
    server.add_argument("--namespace", default="default", metavar="NAME", help="the one namespace that is served (default: default)")
    server.add_argument("--log-format", choices=["text", "json"], default="text", help="how the log on stderr looks (default: text)")
    server.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="'debug' logs every call (default: info)"
    )
    add_workflow_parser(commands)
    add_schedule_parser(commands)
    return parser


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="replay recorded histories against today's workflows",
        description="Replays histories, without running any activity, and says which of them today's code does not fit: what to do before "
        "a new version is deployed. Exit code 0: all fit, 1: some do not, 2: something that cannot be replayed.",
    )
    replay.add_argument(
        "histories", nargs="*", metavar="FILE_OR_DIRECTORY", help="histories in JSON, as `temporal workflow show` writes them"
    )
    replay.add_argument(
        "--module",
        action="append",
        required=True,
        metavar="MODULE",
        help="a module with workflow classes, as in an import statement; repeatable",
    )
    replay.add_argument("--target", metavar="TARGET", help="fetch the histories from there instead: sqlite:FILE or host:port")
    replay.add_argument("--namespace", default="default", help="the namespace of the target (default: default)")
    replay.add_argument("--query", default="", help="which workflows of the target, in Temporal's list filter (default: all)")


def _replay(arguments: argparse.Namespace) -> int:
    from . import _replay_command
    from .exceptions import DurableError

    try:
        failures = _replay_command.replay(
            arguments.module, arguments.histories, target=arguments.target, namespace=arguments.namespace, query=arguments.query
        )
    except (_replay_command.ReplayInputError, DurableError) as error:
        return _fail(str(error), EXIT_USAGE)
    return EXIT_FINDINGS if failures else 0


def _fail(message: str, code: int) -> int:
    print(f"durable-anyio: error: {message}", file=sys.stderr)
    return code


def _interrupted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.backend == "trio" and importlib.util.find_spec("trio") is None:
        return _fail("trio is not installed; hint: pip install 'durable-anyio[trio]'", EXIT_USAGE)
    # Imported late: the help and a mistyped option answer at once.
    from durable_anyio._demo import program
    from durable_anyio.exceptions import DurableError

    options = program.Options(
        directory=arguments.directory,
        db=arguments.db,
        target=arguments.target,
        output=arguments.output,
        backend=arguments.backend,
        concurrency=arguments.concurrency,
    )
    try:
        return program.run(options)
    except program.InputError as error:
        return _fail(str(error), EXIT_USAGE)
    except BaseException as error:
        if _interrupted(error):
            print("durable-anyio: interrupted; the same command goes on from here", file=sys.stderr)
            return EXIT_INTERRUPTED
        # A task group may have wrapped what the service said; anything else is a bug and keeps its traceback.
        leaves = _leaves(error)
        if leaves and all(isinstance(leaf, DurableError) for leaf in leaves):
            return _fail("; ".join(dict.fromkeys(_message(leaf) for leaf in leaves)), EXIT_USAGE)
        raise


def _check(arguments: argparse.Namespace) -> int:
    # Imported late, and with nothing of the rest: a checker in a commit hook must be quick.
    from durable_anyio import _check as checker

    try:
        report = checker.check(arguments.targets)
    except checker.BadInputError as error:
        return _fail(str(error), EXIT_USAGE)
    if arguments.format == "json":
        print(checker.as_json(report))
    elif report.findings:
        print(checker.as_text(report))
    print(f"durable-anyio check: {checker.summary(report)}", file=sys.stderr)
    return EXIT_FINDINGS if report.findings else 0


def _server(arguments: argparse.Namespace) -> int:
    from durable_anyio import _serving
    from durable_anyio.exceptions import RPCError

    options = _serving.Options(arguments.db, arguments.listen, arguments.namespace, arguments.log_format, arguments.log_level)
    try:
        _serving.run(options)
    except RPCError as error:
        return _fail(_message(error), EXIT_USAGE)
    return 0


def _talk(arguments: argparse.Namespace) -> int:
    from durable_anyio._cli import _run

    try:
        _run.run(arguments)
    except _run.ActionError as error:
        return _fail(str(error), EXIT_FINDINGS)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _message(error: BaseException) -> str:
    return str(getattr(error, "message", error))


_COMMANDS = {"check": _check, "demo": _demo, "replay": _replay, "schedule": _talk, "server": _server, "workflow": _talk}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and answers its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except BrokenPipeError:
        # Whoever read our output is gone; keep the interpreter from complaining about it at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
