"""What the machine says about a process: alive, dead but not reaped, and whose server it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether the process runs. A zombie does not: nothing but its exit code is left of it."""
    state = _state(pid)
    return state is not None and state not in "ZX"


def is_postmaster_of(pid: int, cluster: Path) -> bool:
    """Whether this process is the PostgreSQL server of that folder, not a stranger's reused id."""
    if sys.platform != "linux":
        command = _ps(pid, "command=")
        return "postgres" in command and str(cluster) in command
    try:
        where, what = os.stat(f"/proc/{pid}/cwd"), os.stat(cluster)
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return (where.st_dev, where.st_ino) == (what.st_dev, what.st_ino) and name == "postgres"


def command_line(pid: int) -> str:
    """The words the process was started with, or nothing when it is gone."""
    if sys.platform != "linux":
        return _ps(pid, "command=")
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode("utf-8", "replace")


def end(pid: int, steps: tuple[tuple[signal.Signals, float], ...]) -> bool:
    """Send each signal in turn and wait its seconds for the process to go."""
    for number, wait_s in steps:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not is_alive(pid):
                return True
            time.sleep(0.01)
    return not is_alive(pid)


def _state(pid: int) -> str | None:
    """The one letter of the kernel for the process, None when there is no such process."""
    if sys.platform != "linux":
        return _ps(pid, "stat=")[:1] or None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold any character, also a parenthesis.
    return text.rpartition(")")[2].split()[0]


def _ps(pid: int, column: str) -> str:
    answer = subprocess.run(
        ["ps", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()
