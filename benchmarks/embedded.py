"""Measures the embedded engine on a file: `python benchmarks/embedded.py [--dbos | --dbos-python PYTHON] [--backend trio] [--seconds 5]`.

Prints, for a no-op workflow, the time from start to result one at a time and the rate with 50 at a time; the rate of workflows
with ten sequential activities; the process's CPU time a workflow; and the device's own fdatasync, measured in the same
run: absolute numbers mean nothing without it. With --dbos the same program runs on DBOS with SQLite, in a process and an
environment of its own (made for the run, or given by --dbos-python), and the ratios are printed: those can be compared
between machines. The two take turns, so that both meet the same disturbances; each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from statistics import median

from measure import ACTIVITIES, CONCURRENCY, Figures

HERE = Path(__file__).parent
# DBOS itself, and what the measuring is written in.
PEER_REQUIREMENTS = ["dbos>=3.4,<4", "anyio"]
SYNCS = 200

ROWS = [  # label, field, whether more is better
    ("no-op, one at a time, p50 (ms)", "noop_p50_ms", False),
    ("no-op, one at a time, p99 (ms)", "noop_p99_ms", False),
    ("no-op (workflows/s)", "noop_per_s", True),
    ("no-op, CPU of the process (ms/workflow)", "noop_cpu_ms", False),
    (f"{ACTIVITIES} sequential activities (workflows/s)", "ten_activities_per_s", True),
    (f"{ACTIVITIES} activities, CPU (ms/workflow)", "ten_activities_cpu_ms", False),
]


def fdatasync_p50_ms(directory: str) -> float:
    """The device's share: a 4 KiB overwrite made durable."""
    file = os.open(Path(directory, "sync"), os.O_RDWR | os.O_CREAT)
    sync = getattr(os, "fdatasync", os.fsync)
    durations = []
    for _ in range(SYNCS):
        os.pwrite(file, os.urandom(4096), 0)
        begin = time.perf_counter()
        sync(file)
        durations.append(time.perf_counter() - begin)
    os.close(file)
    return median(durations) * 1e3


def run_once(python: str, script: str, directory: str, seconds: float, *arguments: str) -> Figures:
    """A process of its own: neither side pays for what the other imported or left running."""
    command = [python, str(HERE / script), directory, str(seconds), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def make_peer_environment(directory: str) -> str:
    """Installs DBOS into a new environment; answers its Python."""
    environment = Path(directory, "dbos-environment")
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_REQUIREMENTS], check=True)
    return python


def print_table(mine: list[Figures], other: list[Figures]) -> None:
    print(f"{'':44}{'durable_anyio':>14}" + (f"{'DBOS':>12}{'ratio':>9}" if other else ""))
    for label, name, more_is_better in ROWS:
        value = median(getattr(figures, name) for figures in mine)
        text = f"{label:44}{value:>14.2f}"
        if other:
            theirs = median(getattr(figures, name) for figures in other)
            # Above 1 is better for us, in every row.
            text += f"{theirs:>12.2f}{(value / theirs if more_is_better else theirs / value):>8.2f}x"
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbos", action="store_true", help="measure DBOS on SQLite too, in an environment made for this run")
    parser.add_argument("--dbos-python", help="the Python of an environment that has dbos and anyio; implies --dbos")
    parser.add_argument(
        "--backend", choices=["asyncio", "trio"], default="asyncio", help="the host of durable_anyio; DBOS has asyncio only"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each figure is measured in a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program is measured")
    parser.add_argument("--directory", help="where the databases go (default: the system's temporary directory)")
    options = parser.parse_args()
    mine, other = [], []
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        peer = options.dbos_python or (make_peer_environment(directory) if options.dbos else None)
        syncs = [fdatasync_p50_ms(directory)]
        for _ in range(options.rounds):
            mine.append(run_once(sys.executable, "program_durable.py", directory, options.seconds, options.backend))
            if peer:
                other.append(run_once(peer, "program_dbos.py", directory, options.seconds))
            syncs.append(fdatasync_p50_ms(directory))
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {options.backend}; {CONCURRENCY} at a time where not said otherwise")
    print(f"fdatasync of 4 KiB, p50: {min(syncs):.2f} to {max(syncs):.2f} ms during the run\n")
    print_table(mine, other)


if __name__ == "__main__":
    main()
