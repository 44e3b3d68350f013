"""A PostgreSQL of our own, for whoever has none: `start(folder)` and a server is there.

The data lives in `<folder>/postgresql/cluster`. Any number of processes may start it; they share
one server, which ends when the last of them is gone, also when that is killed. It listens on
127.0.0.1 only, with random passwords kept in a file that its owner alone can read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psycopg

from paydesk.db import binaries, cluster, supervisor
from paydesk.db.binaries import Binaries, Engine, find_binaries
from paydesk.db.cluster import Facts, Role
from paydesk.db.errors import DatabaseUnavailable, DatabaseVersionMismatch, DiskNearlyFull

__all__ = [
    "MIN_FREE_BYTES",
    "Binaries",
    "DatabaseUnavailable",
    "DatabaseVersionMismatch",
    "DiskNearlyFull",
    "Engine",
    "Server",
    "find_binaries",
    "free_space",
    "start",
]

#: Below this a server is not started, and readiness should fail while there is time to act.
MIN_FREE_BYTES = 256 * 1024 * 1024
#: Recovery after a crash can take long on a large database; starters wait that long for it.
_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 30.0

#: fsync and synchronous_commit stay at their defaults, on: an answer given is an answer kept.
_SETTINGS = {
    "cluster_name": "paydesk",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Planning for compiled queries costs more than our short statements take.
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a starter asked for."""

    engine: Engine
    port: int
    settings: Mapping[str, str]
    min_free_bytes: int
    ephemeral: bool


def start(
    data_dir: Path,
    *,
    engine: Engine = "auto",
    port: int = 0,
    settings: Mapping[str, str] | None = None,
    min_free_bytes: int = MIN_FREE_BYTES,
    ephemeral: bool = False,
) -> Server:
    """The server of that folder: joined when one runs, started when none does.

    `port` 0 takes that of last time or a free one. `settings` are PostgreSQL's own and count only
    when this call starts the server. `ephemeral` throws the data away when the last user leaves.
    Raises DatabaseUnavailable (DiskNearlyFull), DatabaseVersionMismatch.
    """
    folder = Path(data_dir).absolute() / "postgresql"
    wish = _Wish(engine, port, {**_SETTINGS, **(settings or {})}, min_free_bytes, ephemeral)
    held = _hold(folder)
    try:
        facts = _ensure_running(folder, wish)
    except BaseException:
        os.close(held)
        raise
    return Server(folder, held, facts, wish)


def free_space(data_dir: Path) -> int:
    """Bytes that an ordinary user can still write where the database lives."""
    place = Path(data_dir).absolute()
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


class Server:
    """A hold on a running server. `stop()` lets go of it; so does the end of the process.

    A process forked from this one without exec shares the hold.
    """

    def __init__(self, folder: Path, held: int, facts: Facts, wish: _Wish) -> None:
        self.folder = folder
        self._held = held
        self._facts = facts
        self._wish = wish
        self._is_stopped = False
        guard = threading.Thread(target=self._guard, name="paydesk-postgresql-guard", daemon=True)
        guard.start()

    @property
    def dsn(self) -> str:
        """For the application: may do what the migrations grant, no more."""
        return self._facts.dsn("app")

    @property
    def owner_dsn(self) -> str:
        """For migrations: owns the schema."""
        return self._facts.dsn("owner")

    @property
    def admin_dsn(self) -> str:
        """The superuser, in the database `postgres`: for tests, dumps and repairs."""
        return self._facts.dsn("admin", "postgres")

    def dsn_for(self, role: Role, database: str) -> str:
        """The same roles in another database of this server."""
        return self._facts.dsn(role, database)

    @property
    def version(self) -> str:
        return self._facts.version

    @property
    def port(self) -> int:
        return self._facts.port

    @property
    def pid(self) -> int:
        """The present server process; a restarted server has another. 0 when there is none."""
        try:
            return int((self.folder / "cluster" / "postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return 0

    @property
    def log_path(self) -> Path:
        return self.folder / "postgres.log"

    def free_space(self) -> int:
        """Bytes still free where the data lives."""
        return free_space(self.folder)

    def stop(self) -> None:
        """Let go; when we were the last, wait until the server has ended. Repeating is harmless."""
        if self._is_stopped:
            return
        self._is_stopped = True
        os.close(self._held)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not _is_supervised(self.folder) or self._is_held_by_others():
                return
            time.sleep(0.01)

    def _is_held_by_others(self) -> bool:
        """Nobody: we could lock it alone. The supervisor, while it ends: not even shared."""
        try:
            probe = os.open(self.folder / "owners.lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            if _try_lock(probe, fcntl.LOCK_EX):
                return False
            return _try_lock(probe, fcntl.LOCK_SH)
        finally:
            os.close(probe)

    def _guard(self) -> None:
        """Start a supervisor anew when ours is killed: the server ends with it."""
        while not self._is_stopped:
            try:
                watch = os.open(self.folder / "supervisor.lock", os.O_RDONLY)
            except FileNotFoundError:
                return
            fcntl.flock(watch, fcntl.LOCK_SH)  # Returns when the supervisor is gone.
            os.close(watch)
            if self._is_stopped:
                return
            try:
                self._facts = _ensure_running(self.folder, self._wish)
            except (DatabaseUnavailable, DatabaseVersionMismatch, OSError):
                time.sleep(1.0)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _hold(folder: Path) -> int:
    """Take the shared lock that keeps the server up. Waits while one is being ended."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            is_new = not folder.exists()
            folder.mkdir(mode=0o700, exist_ok=True)
            if is_new:
                cluster.give_to_owner(folder, folder.parent)
            for name in ("start.lock", "supervisor.lock", "postgres.log"):
                os.close(_open(folder, name))
            held = _open(folder, "owners.lock")
        except FileNotFoundError:
            continue  # An ephemeral server has just taken its folder away.
        except (PermissionError, NotADirectoryError, FileExistsError) as exc:
            raise DatabaseUnavailable(
                f"{folder} cannot be used: {exc.strerror}. Start Paydesk as the user it belongs "
                "to, or choose another data folder (PAYDESK_DATA_DIR)."
            ) from exc
        while not _try_lock(held, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                os.close(held)
                raise DatabaseUnavailable(f"The server in {folder} does not finish ending.")
            time.sleep(0.01)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(held).st_ino == (folder / "owners.lock").stat().st_ino:
                return held
        os.close(held)


def _open(folder: Path, name: str) -> int:
    path = folder / name
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    cluster.give_to_owner(path, folder)
    return handle


def _ensure_running(folder: Path, wish: _Wish) -> Facts:
    """One starter at a time; whoever comes later finds the server running."""
    with _alone(folder / "start.lock"):
        if _is_supervised(folder):
            facts = _join(folder)
            if facts is not None:
                return facts
        return _launch(folder, wish)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_supervised(folder: Path) -> bool:
    """Whether a supervisor lives: it holds its own lock alone for as long as it does."""
    try:
        probe = os.open(folder / "supervisor.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(probe, fcntl.LOCK_SH)
    finally:
        os.close(probe)


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _join(folder: Path) -> Facts | None:
    """Wait until the server that others started takes connections; None when it ended instead."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        facts = cluster.read_facts(folder)
        if facts is not None and facts.has_roles and supervisor.is_ready(str(folder)):
            return facts
        if not _is_supervised(folder):
            return None
        time.sleep(0.01)
    raise DatabaseUnavailable(f"The server in {folder} does not become ready; see its log.")


def _launch(folder: Path, wish: _Wish) -> Facts:
    """Make the data if there is none, then start a supervisor, then the roles."""
    if (free := free_space(folder)) < wish.min_free_bytes:
        raise DiskNearlyFull(
            f"{free // 2**20} MiB are free in {folder}, and PostgreSQL is not started below "
            f"{wish.min_free_bytes // 2**20} MiB: a full disk would stop it in the middle of its "
            "work. Free some space, or choose another data folder (PAYDESK_DATA_DIR)."
        )
    data = folder / "cluster"
    found = find_binaries(wish.engine, major=cluster.major_of(data))
    cluster.check_version(data, found)
    account = binaries.account_for(folder)
    programs = binaries.reachable(found, account)
    facts = cluster.read_facts(folder)
    if not data.exists():
        facts = Facts.fresh()
        cluster.write_facts(folder, facts)
        sync = wish.settings.get("fsync") != "off"
        cluster.create(data, programs, account, facts.admin_password, sync=sync)
    else:
        cluster.take_over(data, account)
        cluster.clear_stale_pid(data)
        if facts is None:
            facts = Facts.fresh()
            cluster.set_admin_password(data, programs, account, facts.admin_password)
    if not wish.ephemeral:
        cluster.fill_reserve(folder)
    if not _supervise(folder, wish, programs, account, facts):
        joined = _join(folder)
        if joined is None:
            raise DatabaseUnavailable(f"The server in {folder} ended again; see its log.")
        return joined
    if not facts.has_roles:
        _give_roles(folder, facts)
    return facts


def _give_roles(folder: Path, facts: Facts) -> None:
    try:
        cluster.give_roles(facts)
    except psycopg.OperationalError as exc:
        raise DatabaseUnavailable(f"The new server does not answer: {exc}") from exc
    facts.has_roles = True
    cluster.write_facts(folder, facts)


def _supervise(
    folder: Path, wish: _Wish, programs: Binaries, account: binaries.Account, facts: Facts
) -> bool:
    """Start a supervisor and wait for its word; another port when this one was just taken.

    Answers False when a supervisor turned out to be there, left by a starter that was killed.
    """
    _trim_log(folder / "postgres.log")
    error: str | None = None
    for attempt in range(8):
        facts.port = cluster.choose_port(wish.port, facts.port)
        facts.version = programs.version
        cluster.write_facts(folder, facts)
        arguments = [
            word
            for name, value in {**wish.settings, "port": str(facts.port)}.items()
            for word in ("-c", f"{name}={value}")
        ]
        error = _run_supervisor(folder, programs, account, arguments, ephemeral=wish.ephemeral)
        if error is None:
            return True
        if error == supervisor.ALREADY_SUPERVISED:
            return False
        is_port_taken = "could not bind" in error and not wish.port
        # Backends of a server that was killed may still be on their way out.
        is_still_ending = "shared memory block" in error or "already exists" in error
        if not (is_port_taken or is_still_ending):
            break
        if is_port_taken:
            facts.port = 0
        else:
            time.sleep(0.05 * 2**attempt)
    raise DatabaseUnavailable(f"PostgreSQL {programs.version} did not start: {error}")


def _run_supervisor(
    folder: Path,
    programs: Binaries,
    account: binaries.Account,
    arguments: list[str],
    *,
    ephemeral: bool,
) -> str | None:
    """None when the server is ready, else what it said."""
    reader, writer = os.pipe()
    spec: supervisor.Spec = {
        "folder": str(folder),
        "program": programs.program("postgres"),
        "arguments": arguments,
        "uid": account.uid if account.is_other else None,
        "gid": account.gid if account.is_other else None,
        "ephemeral": ephemeral,
        "report_fd": writer,
    }
    with open(folder / "postgres.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
        )
    os.close(writer)
    with os.fdopen(reader) as report:
        line = report.readline()
    if not line:
        return f"its supervisor ended with {child.wait()}; see {folder / 'postgres.log'}"
    answer = json.loads(line)
    if "error" in answer:
        child.wait()
        return str(answer["error"])
    # Collected when it ends, so that it stays no zombie of ours.
    threading.Thread(target=child.wait, name="paydesk-supervisor-end", daemon=True).start()
    return None


def _trim_log(path: Path, most_bytes: int = 10 * 2**20) -> None:
    """Keep one old log of that size at most."""
    if path.stat().st_size > most_bytes:
        path.replace(path.with_suffix(".log.1"))
        os.close(_open(path.parent, path.name))
