"""Makes docs/demo.svg: runs the demo in a terminal of its own, kills it midway, starts it again and draws what was seen.

``python docs/record_demo.py`` with the package installed; needs a system with pseudo-terminals.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 88
KILL_AT_FILES = 1_200
PROMPT = "[bold green]$[/] "
COMMAND = "durable-anyio demo"


def run(directory: str, kill_at_files: int | None) -> list[str]:
    """The demo's last screen, line by line. With a number: it is killed when its bar has reached it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
        os.execve(sys.executable, [sys.executable, "-m", "durable_anyio.cli", "demo"], environment)
    seen = b""
    while data := _read(terminal):
        seen += data
        reached = re.findall(rb"(\d+)/\d+", re.sub(rb"\x1b\[[0-9;]*m", b"", seen[-2_000:]))
        if kill_at_files is not None and reached and int(reached[-1]) >= kill_at_files:
            os.kill(pid, signal.SIGKILL)
            kill_at_files = None
    os.close(terminal)
    os.waitpid(pid, 0)
    return screen(seen.decode(errors="replace"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other side is gone
        return b""


def screen(output: str) -> list[str]:
    """What is left on the screen: of a line that was drawn again and again, the last state."""
    lines = []
    for line in re.sub(r"\x1b\[\?25[lh]", "", output).split("\n"):
        states = [state for state in re.split(r"\r|\x1b\[2K|\x1b\[1A", line) if state.strip()]
        if states:
            lines.append(states[-1])
    return lines


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        first = run(directory, KILL_AT_FILES)
        second = run(directory, None)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for lines, epilogue in ((first, "[red]Killed[/]  [dim](kill -9, from another terminal)[/]"), (second, "")):
            console.print(PROMPT + COMMAND, highlight=False)
            for line in lines:
                console.print(Text.from_ansi(line))
            if epilogue:
                console.print(epilogue, highlight=False)
        console.save_svg(str(Path(__file__).with_name("demo.svg")), title=COMMAND)


if __name__ == "__main__":
    main()
