"""The demo is killed with SIGKILL again and again and goes on: nothing is lost, nothing acknowledged runs again."""

from __future__ import annotations

import random
import re
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest

from .support import Demo, make_tree, wait_for_growth

INGESTS = 3
KILLS_PER_INGEST = 10
MIDWAY_KILLS_AT_LEAST = 25
FILES = 600

# The longest way between two kills, in files: ten of them stay within the tree.
MOST_FILES_BETWEEN_KILLS = 25

# What the killed process was in the middle of is started anew at once. Were it waited for, the workflow task's timeout
# alone would be ten seconds. Half of the resumes must be quicker than this, on a busy machine too.
RESUME_SECONDS = 6.0

RESUMED = re.compile(r"^([\d,]+) files? (?:was|were) already done; going on$", re.MULTILINE)


def resumed_count(output: str) -> int | None:
    found = RESUMED.search(output)
    return int(found[1].replace(",", "")) if found else None


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    make_tree(root, FILES)
    return root


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_killed_and_resumed(backend: str, tree: Path, tmp_path: Path) -> None:
    midway = sum(_ingest(backend, tree, tmp_path / str(number), seed=number) for number in range(INGESTS))
    assert midway >= MIDWAY_KILLS_AT_LEAST


def _ingest(backend: str, tree: Path, work: Path, *, seed: int) -> int:
    """One tree from start to end with kills on the way; answers how many of them landed with 0 < done < total."""
    work.mkdir()
    demo = Demo(work, tree, backend)
    chance = random.Random(seed)
    bytes_a_line = len("run 1 d000/e0/f000000\n")
    counts: list[int] = []  # what each start after a kill told
    lines_before: list[int] = []  # how many ledger lines there were at that start
    waits: list[float] = []  # from a start after a kill to the first file hashed, in seconds
    for _ in range(KILLS_PER_INGEST):
        start_bytes = demo.ledger_bytes()
        target_bytes = start_bytes + bytes_a_line * chance.randint(1, MOST_FILES_BETWEEN_KILLS)
        lines_at_start = len(demo.ledger_lines())
        started = time.monotonic()
        with demo.start() as process:
            assert wait_for_growth(demo, process, start_bytes + 1), "ended before it went on:\n" + "".join(process.communicate())
            waits.append(time.monotonic() - started)
            assert wait_for_growth(demo, process, target_bytes), "ended before it could be killed:\n" + "".join(process.communicate())
            process.kill()
            output, errors = process.communicate()
        assert not demo.manifest.exists(), "the manifest must appear only when it is whole"
        if lines_at_start:
            _note(counts, lines_before, output, errors, lines_at_start)
    lines_at_end = len(demo.ledger_lines())
    last = demo.run()
    assert last.returncode == 0, last.stdout + last.stderr
    _note(counts, lines_before, last.stdout, last.stderr, lines_at_end)
    demo.check_manifest(FILES)
    _check_ledger(demo, counts, lines_before)
    assert statistics.median(waits[1:]) < RESUME_SECONDS, waits
    return sum(0 < count < FILES for count in counts)


def _note(counts: list[int], lines_before: list[int], output: str, errors: str, lines: int) -> None:
    count = resumed_count(output)
    assert count is not None, output + errors
    counts.append(count)
    lines_before.append(lines)


def _check_ledger(demo: Demo, counts: list[int], lines_before: list[int]) -> None:
    """The activity's own notes agree with what each start told: what was acknowledged before it never ran after it."""
    lines = demo.ledger_lines()
    paths = {path for _, path in lines}
    assert len(paths) == FILES
    assert max(Counter(lines).values()) == 1, "an attempt ran twice"
    assert counts == sorted(counts), "acknowledged work was lost"
    for count, before in zip(counts, lines_before, strict=True):
        # Every file runs after this start except those it counted as done: not one of them, and all of the others.
        assert len({path for _, path in lines[before:]}) == FILES - count
