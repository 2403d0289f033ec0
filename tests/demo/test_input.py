"""What the demo makes of trees and arguments that are out of the ordinary."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
from collections import Counter
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client
from durable_anyio._demo import activities, workflows

from .support import COMMAND, Demo, make_tree, sha256sum, wait_for_growth


def refuse(directory: Path, *arguments: str) -> str:
    """Runs the demo, expects a refusal in one line and answers it."""
    done = subprocess.run([*COMMAND, *arguments], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    assert "error:" in done.stderr
    return done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_continues_as_new(backend: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    files = 3 * workflows.PAGE_FILES + 1
    make_tree(tree, files)
    work = tmp_path / "work"
    work.mkdir()
    demo = Demo(work, tree, backend, concurrency=16)
    done = demo.run()
    assert done.returncode == 0, done.stderr
    assert f"{files:,} files" in done.stdout
    demo.check_manifest(files)
    assert max(attempt for attempt, _ in demo.ledger_lines()) == 1
    runs = anyio.run(history_lengths, demo.work / "demo.db", backend=backend)
    assert len(runs) > 1, "no run continued as new"
    assert max(runs) < 5_000


async def history_lengths(db: Path) -> list[int]:
    """How many events each run in a database has."""
    async with Client.connect(f"sqlite:{db}") as client:
        return [execution.history_length async for execution in client.list_workflows()]


def test_a_finished_run_starts_anew(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree", 2)
    demo = Demo(tmp_path, tmp_path / "tree", "asyncio")
    for _ in range(2):
        done = demo.run()
        assert done.returncode == 0, done.stderr
        assert "already done" not in done.stdout
    assert Counter(path for _, path in demo.ledger_lines()).total() == 4


def test_odd_names(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "-d").mkdir(parents=True)
    names = [b"plain", b"-", b"-c", b"back\\slash", b"new\nline", b" space ", b"per%cent", b"\xff\xfe", "ä€".encode(), b"-d/x", b"*", b"#"]
    for name in names:
        with open(os.path.join(os.fsencode(tree), name), "wb") as file:
            file.write(name)
    (tree / "link").symlink_to("plain")
    (tree / "loop").symlink_to(".")
    os.mkfifo(tree / "pipe")
    (tree / "empty").touch()
    output = tmp_path / "SUMS"
    done = subprocess.run(
        [*COMMAND, str(tree), "--db", str(tmp_path / "x.db"), "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(output.read_bytes().splitlines()) == len(names) + 1
    sha256sum(tree, output)


def test_its_own_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    done = subprocess.run([*COMMAND, "."], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == ["a"]


def test_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    done = subprocess.run([*COMMAND, "tree"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "SHA256SUMS").read_bytes() == b""


def test_missing_directory(tmp_path: Path) -> None:
    assert "does not exist" in refuse(tmp_path, "nowhere")
    assert not (tmp_path / "durable-demo.db").exists()


def test_directory_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a directory" in refuse(tmp_path, "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_directory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert "cannot be read" in refuse(tmp_path, "closed")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree(tree, 5)
    closed = next(tree.rglob("f*"))
    closed.chmod(0)
    assert "Permission denied" in refuse(tmp_path, "tree")
    closed.chmod(stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_files_that_stay_unreadable(backend: str, tmp_path: Path) -> None:
    # Listed before the kill and something else after it: unlike permissions, this keeps root from reading too.
    tree = tmp_path / "tree"
    tree.mkdir()
    files = workflows.PAGE_FILES
    for number in range(files):
        (tree / f"{number:03}").write_text(f"{number}")
    demo = Demo(tmp_path, tree, backend, concurrency=2)
    with demo.start() as process:
        assert wait_for_growth(demo, process, 1)
    gone, pipe, directory = (tree / f"{number:03}" for number in range(files - 3, files))
    assert not {path for _, path in demo.ledger_lines()} & {gone.name, pipe.name, directory.name}
    for path in (gone, pipe, directory):
        path.unlink()
    os.mkfifo(pipe)
    directory.mkdir()
    done = demo.run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "3 could not be read" in done.stderr
    assert f"{gone.name}: No such file or directory" in done.stderr
    assert f"{pipe.name}: not a regular file any more" in done.stderr
    assert f"{directory.name}: " in done.stderr
    demo.check_manifest(files - 3)
    for path in (gone, pipe, directory):
        attempts = [attempt for attempt, name in demo.ledger_lines() if name == path.name]
        assert attempts == list(range(1, activities.READ_ATTEMPTS + 1))


def test_output_is_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in refuse(tmp_path, ".", "--output", ".")


def test_output_directory_is_missing(tmp_path: Path) -> None:
    assert "does not exist" in refuse(tmp_path, ".", "--output", "no/where")


def test_database_is_something_else(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("dear diary\n" * 1_000)
    assert "notes.txt" in refuse(tmp_path, ".", "--db", "notes.txt")
    assert text.read_text() == "dear diary\n" * 1_000


def test_database_of_another_program(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = (tmp_path / "other.db").read_bytes()
    assert "other.db" in refuse(tmp_path, ".", "--db", "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def _finished_database(directory: Path) -> Path:
    (directory / "tree").mkdir()
    subprocess.run([*COMMAND, "tree"], cwd=directory, capture_output=True, timeout=60, check=True)
    return directory / "durable-demo.db"


def test_database_of_a_newer_version(tmp_path: Path) -> None:
    db = _finished_database(tmp_path)
    connection = sqlite3.connect(db)
    connection.execute("PRAGMA user_version = 30000")
    connection.commit()
    connection.close()
    assert "newer" in refuse(tmp_path, "tree")


def test_truncated_database(tmp_path: Path) -> None:
    db = _finished_database(tmp_path)
    os.truncate(db, db.stat().st_size // 2)
    assert "durable-demo.db" in refuse(tmp_path, "tree")


def test_database_held_by_another_process(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree(tree, 500)
    demo = Demo(tmp_path, tree, "asyncio", concurrency=1)
    with demo.start() as process:
        assert wait_for_growth(demo, process, 1)
        message = refuse(tmp_path, "tree", "--db", "demo.db")
        assert str(process.pid) in message


def test_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree(tree, 500)
    for backend in ("asyncio", "trio"):
        work = tmp_path / backend
        work.mkdir()
        demo = Demo(work, tree, backend, concurrency=2)
        with demo.start() as process:
            assert wait_for_growth(demo, process, 1_000)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 130, errors
            assert "goes on" in errors
            assert "Traceback" not in errors, errors
        done = demo.run()
        assert "already done" in done.stdout, done.stdout + done.stderr
        demo.check_manifest(500)


@pytest.mark.parametrize("arguments", [["--concurrency", "0"], ["--backend", "curio"], ["a", "b"], ["--db", "x", "--target", "y:1"]])
def test_wrong_arguments(arguments: list[str], tmp_path: Path) -> None:
    refuse(tmp_path, *arguments)


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    assert "127.0.0.1:1" in refuse(tmp_path, "tree", "--target", "127.0.0.1:1")
