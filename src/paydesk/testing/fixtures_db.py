"""Pytest fixtures for a database of one's own in every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paydesk.db.postgres import Database, Tx
from paydesk.testing import databases
from paydesk.testing.databases import TestDatabase


class OpenDatabase(Database):
    """A `Database` of the application's role that also knows its owner's and superuser's DSN."""

    def __init__(self, made: TestDatabase, *, max_size: int = 10) -> None:
        super().__init__(made.dsn, min_size=1, max_size=max_size, name="paydesk test")
        self.made = made

    @property
    def owner_dsn(self) -> str:
        return self.made.owner_dsn

    @property
    def admin_dsn(self) -> str:
        return self.made.admin_dsn

    @contextmanager
    def looking(self) -> Iterator[Tx]:
        """One instant of it in a session that knows the schema already, if there is one."""
        with self.made.keeper.looking() if self.made.keeper else self.snapshot() as tx:
            yield tx


@pytest.fixture
def database() -> Iterator[TestDatabase]:
    """A migrated, empty database of this test alone; only its addresses."""
    with databases.lent_database() as made:
        yield made


@pytest.fixture
def empty_database() -> Iterator[TestDatabase]:
    """A database without a single table, for tests of migrations."""
    made = databases.empty_database()
    yield made
    databases.drop_database(made)


@pytest.fixture
def db(database: TestDatabase) -> Iterator[OpenDatabase]:
    """A migrated, empty database of this test alone, opened as the application."""
    opened = OpenDatabase(database)
    yield opened
    opened.close()
