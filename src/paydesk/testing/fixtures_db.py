"""Pytest fixtures for a database of one's own in every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paydesk.db.postgres import Database
from paydesk.testing import databases
from paydesk.testing.databases import TestDatabase


class OpenDatabase(Database):
    """A `Database` of the application's role that also knows its owner's and superuser's DSN."""

    def __init__(self, made: TestDatabase, *, max_size: int = 10) -> None:
        super().__init__(made.dsn, min_size=1, max_size=max_size, name="paydesk test")
        self.made = made
        self.owner_dsn = made.owner_dsn
        self.admin_dsn = made.admin_dsn


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
