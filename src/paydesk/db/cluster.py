"""One PostgreSQL data folder: made, checked, cleared of a dead server's leavings, given roles."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, LiteralString

import psycopg
from psycopg import sql

from paydesk.db import processes
from paydesk.db.binaries import Account, Binaries
from paydesk.db.errors import DatabaseUnavailable, DatabaseVersionMismatch

#: The superuser, the schema's owner, the application.
Role = Literal["admin", "owner", "app"]

#: Kept free for the server: recovery after a crash writes before it can remove anything.
RESERVE_BYTES = 64 * 1024 * 1024
#: Outside the range that Linux hands to outgoing connections, so that a restart finds it free.
_PORTS = range(15_000, 30_000)
_END_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 2.0))


@dataclass(slots=True)
class Facts:
    """What must be remembered between starts: `server.json`, readable by its owner alone."""

    port: int
    admin_password: str
    owner_password: str
    app_password: str
    version: str = ""
    has_roles: bool = False

    @classmethod
    def fresh(cls) -> Facts:
        admin, owner, app = (secrets.token_urlsafe(24) for _ in range(3))
        return cls(0, admin, owner, app)

    def dsn(self, role: Role, database: str = "paydesk") -> str:
        password = getattr(self, f"{role}_password")
        return f"postgresql://paydesk_{role}:{password}@127.0.0.1:{self.port}/{database}"


def read_facts(folder: Path) -> Facts | None:
    try:
        return Facts(**json.loads((folder / "server.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_facts(folder: Path, facts: Facts) -> None:
    """Replace the file in one step, so that a crash leaves the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=".server-", dir=folder)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(facts), file)
        file.flush()
        os.fsync(file.fileno())
    give_to_owner(Path(name), folder)
    os.replace(name, folder / "server.json")


def give_to_owner(path: Path, folder: Path) -> None:
    """Root started a server in someone's folder: its files belong to that someone."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def major_of(cluster: Path) -> int | None:
    """The major version the data was made by, None when there is no data yet."""
    try:
        return int((cluster / "PG_VERSION").read_text().split(".")[0])
    except FileNotFoundError:
        return None


def create(
    cluster: Path, programs: Binaries, account: Account, password: str, *, sync: bool
) -> None:
    """Make a new data folder. A crash on the way leaves only a half that is thrown away."""
    half = cluster.with_name("cluster.new")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    if account.is_other:
        os.chown(half, account.uid, account.gid)
    # The password goes through a pipe that the other user may open again: no secret on disk.
    reader, writer = os.pipe()
    folder = os.open(half, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if account.is_other:
            os.fchown(reader, account.uid, -1)
        os.write(writer, password.encode() + b"\n")
        os.close(writer)
        data = f"/proc/self/fd/{folder}" if os.path.exists("/proc/self/fd") else str(half)
        command = [
            programs.program("initdb"), "-D", data, "-U", "paydesk_admin",
            "--auth=scram-sha-256", "--pwfile=/dev/stdin", "--encoding=UTF8", "--locale=C",
            "--data-checksums", *([] if sync else ["--no-sync"]),
        ]  # fmt: skip
        answer = subprocess.run(
            command, stdin=reader, capture_output=True, text=True, check=False,
            pass_fds=(folder,), **account.popen(),
        )  # fmt: skip
    finally:
        os.close(reader)
        os.close(folder)
    if answer.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        raise DatabaseUnavailable(f"initdb could not make {cluster}: {answer.stderr.strip()}")
    half.rename(cluster)


def take_over(cluster: Path, account: Account) -> None:
    """Data that root copied here is given to the user who is to run it; another's is refused."""
    owner = cluster.stat().st_uid
    if owner == account.uid:
        return
    if owner != 0 or not account.is_other:
        raise DatabaseUnavailable(
            f"{cluster} belongs to user {owner}, not to {account.name}; "
            "start Paydesk as that user or choose another data folder (PAYDESK_DATA_DIR)."
        )
    for place, folders, files in os.walk(cluster):
        for name in (".", *folders, *files):
            path = os.path.join(place, name)
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def set_admin_password(cluster: Path, programs: Binaries, account: Account, password: str) -> None:
    """`server.json` is lost: set a new password in single-user mode, which asks for none."""
    folder = os.open(cluster, os.O_RDONLY | os.O_DIRECTORY)
    data = f"/proc/self/fd/{folder}" if os.path.exists("/proc/self/fd") else str(cluster)
    try:
        answer = subprocess.run(
            [programs.program("postgres"), "--single", "-D", data, "postgres"],
            input=f"alter role paydesk_admin password '{password}'\n",
            capture_output=True, text=True, check=False, pass_fds=(folder,), **account.popen(),
        )  # fmt: skip
    finally:
        os.close(folder)
    if answer.returncode != 0 or "ERROR" in answer.stderr:
        raise DatabaseUnavailable(f"No new password could be set: {answer.stderr.strip()[-500:]}")


def check_version(cluster: Path, programs: Binaries) -> None:
    """Raises DatabaseVersionMismatch, with the commands that move the data, for another major."""
    made_by = major_of(cluster)
    if made_by is None or made_by == programs.major:
        return
    folder = cluster.parent
    address = "postgresql://paydesk_admin@127.0.0.1:PORT/paydesk"
    raise DatabaseVersionMismatch(
        f"The data in {cluster} was made by PostgreSQL {made_by}, and the server to be used is "
        f"{programs.version}, which cannot read it. Nothing was changed.\n"
        f"To keep the data as it is, install PostgreSQL {made_by} (on Debian: "
        f"apt install postgresql-{made_by}) and let the engine be chosen by itself: the server "
        f"that fits the data is found and used.\n"
        f"To move it to {programs.major}, do that, and while Paydesk runs (PORT is `port` and the "
        f"password is `admin_password` in {folder / 'server.json'}):\n"
        f"  {programs.program('pg_dump')} -Fc -d {address} -f paydesk.dump\n"
        f"then stop Paydesk and put the old data aside:\n"
        f"  mv {folder} {folder}.{made_by}\n"
        f"then start Paydesk, which makes an empty database, and with the new PORT and password:\n"
        f"  {programs.program('pg_restore')} --clean --if-exists --exit-on-error -d {address} "
        f"paydesk.dump"
    )


def clear_stale_pid(cluster: Path) -> None:
    """Remove the pid file of a server that is gone; end our own server that lost its supervisor.

    PostgreSQL takes any living process with that number for a server, a zombie and a stranger's
    reused number too. Removing the file is safe: the server also refuses to start while a process
    is attached to the folder's shared memory.
    """
    path = cluster / "postmaster.pid"
    try:
        pid = int(path.read_text().split("\n")[0])
    except FileNotFoundError:
        return
    except ValueError:
        path.unlink(missing_ok=True)
        return
    if processes.is_alive(pid) and processes.is_postmaster_of(pid, cluster):
        if "cluster_name=paydesk" not in processes.command_line(pid):
            raise DatabaseUnavailable(
                f"Another PostgreSQL (process {pid}) runs on {cluster}; stop it first."
            )
        if not processes.end(pid, _END_STEPS):
            raise DatabaseUnavailable(f"The old PostgreSQL (process {pid}) does not end.")
    path.unlink(missing_ok=True)


def choose_port(wanted: int, remembered: int) -> int:
    """The wanted port, else the one of last time, else a free one. 0 means none.

    Raises DatabaseUnavailable when the wanted one is taken.
    """
    if wanted:
        if not _is_free(wanted):
            raise DatabaseUnavailable(f"Port {wanted} on 127.0.0.1 is in use by another program.")
        return wanted
    if remembered and _is_free(remembered):
        return remembered
    for _ in range(200):
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port
    raise DatabaseUnavailable("No free port was found on 127.0.0.1.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As PostgreSQL does: connections of the server before us may still be winding down.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def give_roles(facts: Facts) -> None:
    """The roles and the database, made where they are missing; passwords set to what we know.

    The owner holds the schema, the application may do only what the migrations grant it: a
    table's owner could not be held to append-only by privilege.
    """
    with psycopg.connect(facts.dsn("admin", "postgres"), autocommit=True) as admin:
        for role in ("owner", "app"):
            name = f"paydesk_{role}"
            if not _exists(admin, "select 1 from pg_roles where rolname = %s", name):
                admin.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
            password = sql.Literal(getattr(facts, f"{role}_password"))
            admin.execute(
                sql.SQL("alter role {} login password {}").format(sql.Identifier(name), password)
            )
        if not _exists(admin, "select 1 from pg_database where datname = %s", "paydesk"):
            admin.execute("create database paydesk owner paydesk_owner")


def _exists(conn: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return conn.execute(query, (name,)).fetchone() is not None


def fill_reserve(folder: Path) -> None:
    """Keep some space aside; the supervisor gives it back when a full disk stops recovery."""
    path = folder / "reserve"
    if path.exists() and path.stat().st_size >= RESERVE_BYTES:
        return
    path.touch(mode=0o600)
    with contextlib.suppress(OSError), open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        else:
            file.write(bytes(RESERVE_BYTES))
    give_to_owner(path, folder)
