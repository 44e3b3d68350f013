"""A database that a history was lived in once, and a copy of it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from paydesk.testing import databases
from paydesk.testing.databases import TestDatabase


def copy_of(template: str) -> TestDatabase:
    """A database with what another one holds, which nobody may be connected to."""
    made = databases.empty_database()
    # Copying files makes two checkpoints: cheap in memory, dear on a disk.
    in_memory = str(databases.engine().folder).startswith("/dev/shm/")
    strategy = sql.SQL("file_copy" if in_memory else "wal_log")
    with psycopg.connect(databases.engine().admin_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(made.name)))
        admin.execute(
            sql.SQL("create database {} template {} owner paydesk_owner strategy {}").format(
                sql.Identifier(made.name), sql.Identifier(template), strategy
            )
        )
    return made


@contextmanager
def copied(template: str) -> Iterator[TestDatabase]:
    """Such a copy for a block."""
    made = copy_of(template)
    try:
        yield made
    finally:
        databases.drop_database(made)
