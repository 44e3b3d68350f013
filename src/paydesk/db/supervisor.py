"""Keeps one PostgreSQL server running for as long as somebody holds the shared file lock.

Runs as a program of its own with the standard library alone:
`python -I -S supervisor.py SPEC`, where SPEC is the JSON of a `Spec`. It restarts the server when
that dies, and ends it and itself when the last holder of `owners.lock` is gone, however it went:
the kernel releases a dead process's locks. Should the supervisor itself be killed, the server gets
SIGINT from the kernel; that is sound here, because this process has one thread only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from typing import NoReturn, TypedDict

_POLL_S = 0.1
_READY_TIMEOUT_S = 600.0
_STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOCK_TIMEOUT_S = 5.0
ALREADY_SUPERVISED = "another supervisor looks after this folder"
_WAKERS = {signal.SIGCHLD, signal.SIGTERM}


class Spec(TypedDict):
    """What the starter hands over. No secrets: the command line is readable by others."""

    folder: str  # holds the locks, the log, the reserve and the cluster
    program: str
    arguments: list[str]  # without the data folder
    uid: int | None  # None keeps the user
    gid: int | None
    ephemeral: bool  # the folder goes away with the server
    report_fd: int  # gets one line of JSON: {"pid": …} or {"error": …}


def main(spec: Spec) -> int:
    """Start, report, watch, end. Answers the exit code."""
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAKERS)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder = spec["folder"]
    with (
        open(f"{folder}/supervisor.lock", "rb+") as own,
        open(f"{folder}/owners.lock", "rb+") as owners,
    ):
        if not _lock_alone(own.fileno()):
            _report(spec, {"error": ALREADY_SUPERVISED})
            return 1
        pid = _start(spec)
        error = _await_ready(spec, pid)
        _report(spec, {"error": error} if error else {"pid": pid})
        if error:
            _stop(pid)
            return 1
        _watch(spec, pid, owners.fileno())
        if spec["ephemeral"]:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # Not ours to remove when it holds other things.
                os.rmdir(os.path.dirname(folder))
    return 0


def _lock_alone(own_fd: int) -> bool:
    """Hold our lock until we end. Starters look at it for an instant now and then."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            fcntl.flock(own_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.002)
    return False


def _watch(spec: Spec, pid: int, owners_fd: int) -> None:
    """Restart the server when it dies; stop it when nobody holds the lock or on SIGTERM."""
    pause_s = 0.02
    started_s = time.monotonic()
    while True:
        if _nap(_POLL_S):
            break
        if pid in _reap():
            pid = 0
        if _is_abandoned(owners_fd):
            break
        if pid == 0 and time.monotonic() - started_s > pause_s:
            _say(spec, "the server is gone; starting it again")
            # A server that keeps dying is tried at most every two seconds.
            lived_s = time.monotonic() - started_s
            pause_s = 0.02 if lived_s > 10 else min(pause_s * 2, 2.0)
            started_s = time.monotonic()
            pid = _start_again(spec)
    if spec["ephemeral"] and not pid:
        # Its shared memory outlives a killed server; only the next one of that data removes it,
        # and starts only when the last process of the killed one is gone.
        for _ in range(20):
            pid = _start_again(spec)
            if _await_ready(spec, pid) is None:
                break
            pid = 0
            _nap(0.05)
    if pid:
        _stop(pid, steps=_STOP_STEPS[1:] if spec["ephemeral"] else _STOP_STEPS)


def _start_again(spec: Spec) -> int:
    _free_reserve(spec)
    # The file names a process that we have seen end; another may have its number by now.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{spec['folder']}/cluster/postmaster.pid")
    return _start(spec)


def _start(spec: Spec) -> int:
    """Fork and become the server. The data folder is passed as an open file descriptor, because
    an ordinary user may not be allowed to walk the path to it from the root folder."""
    cluster = os.open(f"{spec['folder']}/cluster", os.O_RDONLY | os.O_DIRECTORY)
    log = os.open(f"{spec['folder']}/postgres.log", os.O_WRONLY | os.O_APPEND)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become_server(spec, cluster, log, parent)
        finally:
            os._exit(127)
    os.close(cluster)
    os.close(log)
    return pid


def _become_server(spec: Spec, cluster: int, log: int, parent: int) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAKERS)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if spec["uid"] is not None and spec["gid"] is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    os.umask(0o077)
    # A change of user clears this, hence after it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        os._exit(0)
    data = f"{spec['folder']}/cluster"
    if sys.platform == "linux":
        os.set_inheritable(cluster, True)
        data = f"/proc/self/fd/{cluster}"
    # psycopg and the shell's PG* variables must not leak into the server.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    program = spec["program"]
    os.execve(program, [program, "-D", data, *spec["arguments"]], environment)


def _await_ready(spec: Spec, pid: int) -> str | None:
    """Wait until the server takes connections. Answers what it logged when it gave up instead."""
    log_from = os.path.getsize(f"{spec['folder']}/postgres.log")
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if is_ready(spec["folder"], pid):
            return None
        if pid in _reap():
            return _log_since(spec, log_from) or "the server ended without a word"
        time.sleep(0.003)
    return f"the server was not ready after {_READY_TIMEOUT_S:.0f} s"


def is_ready(folder: str, pid: int | None = None) -> bool:
    """Whether the server's own pid file says that it takes connections."""
    try:
        with open(f"{folder}/cluster/postmaster.pid", encoding="utf-8") as file:
            lines = file.read().split("\n")
    except OSError:
        return False
    mine = pid is None or lines[0] == str(pid)
    return mine and len(lines) > 7 and lines[7].strip() == "ready"


def _stop(pid: int, steps: tuple[tuple[signal.Signals, float], ...] = _STOP_STEPS) -> None:
    """Ask ever less politely until the server has ended. Its children end with it."""
    for number, wait_s in steps:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if pid in _reap():
                return
            _nap(0.02)


def _reap() -> set[int]:
    """Collect every ended child, a dead server's orphans too: pid 1 does not always do so."""
    ended: set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.add(pid)
    return ended


def _nap(seconds: float) -> bool:
    """Sleep until a child ends, at most so long. Answers whether we were told to end ourselves."""
    if hasattr(signal, "sigtimedwait"):
        got = signal.sigtimedwait(_WAKERS, seconds)
        return got is not None and got.si_signo == signal.SIGTERM
    time.sleep(seconds)
    return signal.SIGTERM in signal.sigpending()


def _is_abandoned(owners_fd: int) -> bool:
    """Whether nobody holds the shared lock. If so we keep it, so that a newcomer waits for us."""
    try:
        fcntl.flock(owners_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _free_reserve(spec: Spec) -> None:
    """Give the reserved space back when the disk is full, so that recovery has room to write."""
    reserve = f"{spec['folder']}/reserve"
    place = os.statvfs(spec["folder"])
    if os.path.exists(reserve) and place.f_bavail * place.f_frsize < 32 * 1024 * 1024:
        os.unlink(reserve)
        _say(spec, "the disk is full: gave the reserve back")


def _log_since(spec: Spec, offset: int) -> str:
    with open(f"{spec['folder']}/postgres.log", encoding="utf-8", errors="replace") as file:
        file.seek(offset)
        return file.read()[-4000:].strip()


def _say(spec: Spec, words: str) -> None:
    with (
        contextlib.suppress(OSError),
        open(f"{spec['folder']}/postgres.log", "a", encoding="utf-8") as log,
    ):
        log.write(f"paydesk supervisor {os.getpid()}: {words}\n")


def _report(spec: Spec, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # The starter may be gone; the lock tells soon enough.
        os.write(spec["report_fd"], json.dumps(answer).encode() + b"\n")
    os.close(spec["report_fd"])


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
