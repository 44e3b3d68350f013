"""PostgreSQL servers that a test starts, copies, kills and promotes; each a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from paydesk.db import binaries, cluster
from paydesk.db.cluster import Facts, Role

#: fsync is off for speed: no test here cuts the power.
SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
    "shared_buffers": "32MB", "max_connections": "60", "wal_level": "replica",
    "max_wal_senders": "4", "timezone": "UTC", "jit": "off", "wal_retrieve_retry_interval": "100ms",
}  # fmt: skip


class Node:
    """One server, without a supervisor: what is killed stays dead."""

    def __init__(self, folder: Path, facts: Facts | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _open_the_way(folder)
        self.data = folder / "cluster"
        self.account = binaries.account_for(folder)
        if self.account.is_other:
            os.chown(folder, self.account.uid, self.account.gid)
        self.programs = binaries.reachable(_found(), self.account)
        given = facts or Facts.fresh()
        self.facts = Facts(0, given.admin_password, given.owner_password, given.app_password)
        self._log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False

    def create(self) -> Node:
        cluster.create(
            self.data, self.programs, self.account, self.facts.admin_password, sync=False
        )
        return self

    def copy_of(self, other: Node) -> Node:
        """A base backup of a running server; `-R` makes it follow that one."""
        command = [
            self.programs.program("pg_basebackup"), "-D", str(self.data), "-c", "fast", "-R",
            "-X", "stream", "-d", other.dsn("admin", "postgres") + "?application_name=standby",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=60,
                       **self.account.popen())  # fmt: skip
        return self

    def start(self, **settings: Any) -> Node:
        self.facts.port = _free_port()
        told = {**SETTINGS, **settings, "port": self.facts.port}
        words = [w for name, value in told.items() for w in ("-c", f"{name}={value}")]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [self.programs.program("postgres"), "-D", str(self.data), *words],
                stdout=log, stderr=log, start_new_session=True, **self.account.popen(),
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            assert self._process.poll() is None and time.monotonic() < until, self.log()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn("admin", "postgres"), connect_timeout=2).close()
                return self
            time.sleep(0.05)

    def dsn(self, role: Role, database: str = "paydesk") -> str:
        return self.facts.dsn(role, database)

    def ask(self, query: Any, database: str = "paydesk") -> Any:
        with psycopg.connect(self.dsn("admin", database), autocommit=True) as conn:
            row = conn.execute(query).fetchone()
        return row[0] if row else None

    def run(self, statement: Any, database: str = "postgres") -> None:
        with psycopg.connect(self.dsn("admin", database), autocommit=True) as conn:
            conn.execute(statement)

    def kill(self) -> None:
        """kill -9 of the server and all its sessions at one instant, as when a machine dies."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
            self._was_killed = True

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        self.kill()

    def remove(self) -> None:
        """A killed server's shared memory is only removed by the next server of its data."""
        if self._was_killed:
            self.start()
        self.stop()
        shutil.rmtree(self.data.parent, ignore_errors=True)
        with contextlib.suppress(OSError):  # The last one takes the folder of all away.
            self.data.parent.parent.rmdir()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def _found() -> binaries.Binaries:
    """Of the engine that tests run on."""
    return binaries.find_binaries(os.environ.get("PAYDESK_TEST_ENGINE") or "auto")  # type: ignore[arg-type]


def _open_the_way(folder: Path) -> None:
    """Another user must be able to walk to the folder: pytest's own ones are closed."""
    if os.geteuid() != 0:
        return
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and "pytest" in str(parent):
            parent.chmod(parent.stat().st_mode | 0o011)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]
