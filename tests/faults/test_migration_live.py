"""Migrations beside live writers: nobody waits longer than a migration may hold others up."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import psycopg
import pytest
from load import Load, check, owners_with_credits

from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.db import migrate
from paydesk.db.migrate import Script

#: What a migration may make a writer wait: its own lock time-out and the time to be scheduled.
LOCK_TIMEOUT_S = 2.0
SCHEDULING_S = 3.0

#: What later versions will do: columns, constraints, indexes, tables, a newer function.
LATER = [
    Script("9001_columns", "migration",
           "alter table transfers add column channel text;"
           " alter table heads add column tier smallint not null default 0;"
           " alter table batches add constraint batches_kind_known check (kind <> '') not valid;"),
    Script("9002_validate", "migration",
           "alter table batches validate constraint batches_kind_known;"),
    Script("9003_index", "migration",
           "-- no transaction\n"
           "create index concurrently if not exists transfers_channel on transfers (channel)"
           " where channel is not null;"),
    Script("9004_table", "migration",
           "create table notes (customer_id uuid not null, id uuid not null, text text,"
           " primary key (customer_id, id));"
           " grant select, insert on notes to paydesk_app;"),
    Script("tier_v1", "function",
           "create function tier_v1(p_customer uuid) returns smallint language sql as"
           " $$ select tier from heads where customer_id = p_customer; $$;"),
]  # fmt: skip


@pytest.fixture
def service(settings):
    env = build_env(
        replace(settings, max_daily_transactions=10**9, max_credit_balance=10**12),
        start_missing=False, clock=SystemClock(),
    )  # fmt: skip
    yield env
    env.close()


@pytest.mark.timeout(300)
def test_migrations_run_beside_live_writers_and_a_second_run_does_nothing(service, db):
    """I45: the code of today goes on while the schema of tomorrow is made under it."""
    owners = owners_with_credits(service)
    scripts = [*migrate.packaged(), *LATER]
    with Load(service, owners, seed=21) as load:
        load.wait_for(100, 30)
        done = migrate.migrate(db.owner_dsn, scripts=scripts)
        load.wait_for(100, 30)
        assert migrate.migrate(db.owner_dsn, scripts=scripts) == []
        load.wait_for(50, 30)
    assert done == [one.name for one in LATER]
    assert load.refusals == {}
    assert load.slowest_s < LOCK_TIMEOUT_S + SCHEDULING_S
    check(service, load)
    found = migrate.status(db.dsn)
    assert found.is_current and found.unknown == sorted(one.name for one in LATER)


@pytest.mark.timeout(120)
def test_a_migration_that_cannot_have_its_lock_steps_back_for_the_writers(service, db):
    """I45: a long report holds the table; the writers behind the migration wait for it shortly."""
    owners = owners_with_credits(service)
    with psycopg.connect(db.owner_dsn) as report, Load(service, owners, seed=22) as load:
        report.execute("select count(*) from heads")  # Open: it keeps its lock on the table.
        load.wait_for(50, 30)
        began = time.monotonic()
        done: list[list[str]] = []
        scripts = [*migrate.packaged(), LATER[0]]
        thread = threading.Thread(
            target=lambda: done.append(migrate.migrate(db.owner_dsn, scripts=scripts))
        )
        thread.start()
        while time.monotonic() - began < LOCK_TIMEOUT_S + 1.5:
            load.wait_for(1, LOCK_TIMEOUT_S + SCHEDULING_S)
        report.rollback()
        thread.join(60)
        load.wait_for(50, 30)
    assert done == [["9001_columns"]]
    assert load.slowest_s < LOCK_TIMEOUT_S + SCHEDULING_S
    check(service, load)
